"""`latentbench-log`: shows recorded runs in a logger, such as Weights & Biases, after they have ended."""

from collections.abc import Sequence
from pathlib import Path

from latentbench.cli.command import folders_and_words, run_command
from latentbench.errors import UserError

HELP = """latentbench-log: logs runs that have ended, such as those made with logger=none or without a network.

Usage:
  latentbench-log outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d      one run, or several folders
  latentbench-log study=mine logger.project=autoencoders          every run below outputs/mine

logger        by default wandb; its keys as for latentbench
study, output_dir   which runs, if no folder is named

Numbers, images and reasons of failures are logged; the curves of the training are not stored.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or a record cannot be used."""
    return run_command("latentbench-log", _log, arguments, help_text=HELP)


def _log(arguments: Sequence[str]) -> None:
    # Imported here, so that --help is quick.
    from tqdm import tqdm

    from latentbench.configuration.compose import compose_config
    from latentbench.evaluation.build import build
    from latentbench.loggers.base import RunInfo
    from latentbench.records.record import FILE_NAME, load
    from latentbench.records.run_folder import IMAGES_NAME, load_images
    from latentbench.running.logging_setup import set_up_logging

    set_up_logging()
    named, words = folders_and_words(arguments)
    folders = [*map(Path, named)]
    config = compose_config(words)
    if config.hydra.runtime.choices.logger == "none":
        raise UserError("logger=none logs nothing: leave it out for Weights & Biases, or name another logger")
    if not folders:
        study = Path(config.output_dir) / config.study
        folders = sorted(path.parent for path in study.glob(f"*/{FILE_NAME}"))
        if not folders:
            raise UserError(f"{study} has no runs: name a run's folder, or study=...")
    for folder in tqdm(folders, desc="log", unit="run", disable=None):
        record = load(folder / FILE_NAME)
        run = RunInfo(
            run_id=record.run_id,
            study=record.study,
            choices=record.choices,
            preset=record.preset,
            config=record.config,
            folder=folder,
            resumed=True,
        )
        logger = build(config.logger)
        logger.start(run)
        logger.finish(record, load_images(folder / IMAGES_NAME))
        logger.close(failed=record.status == "failed")

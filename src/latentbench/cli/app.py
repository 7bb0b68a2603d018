"""The command `latentbench`: a Hydra app that composes runs and gives them to a launcher."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from unittest import mock

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from latentbench.cli.help import help_text
from latentbench.configuration.catalogue import CONF_DIR
from latentbench.configuration.compose import explain
from latentbench.errors import UserError
from latentbench.running.build import build
from latentbench.running.job import Job

MULTIRUN = ("-m", "--multirun")


def main() -> None:
    """Exit code 1: a run failed; 2: the command cannot be carried out as given."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        with contextlib.suppress(BrokenPipeError):  # of a reader who has seen enough
            print(help_text(), flush=True)
        return
    try:
        jobs = composed(sys.argv[1:])
        outcomes = build(jobs[0].config.launcher).launch(jobs) if jobs else Counter[str]()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        stop(explain(error))
    except KeyboardInterrupt:
        print("latentbench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    if outcomes.total() > 1:
        print("runs:", ", ".join(f"{count} {what}" for what, count in outcomes.items()), file=sys.stderr)
    sys.exit(1 if outcomes["failed"] or outcomes["killed"] else 2 if outcomes["wrong"] else 0)


def composed(arguments: Sequence[str]) -> list[Job]:
    """Every run that a command asks for; nothing but `--cfg` and its like asks for none.

    Raises: UserError if a grid is empty, and whatever Hydra makes of what it cannot compose.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes exceptions on; they are explained here
    jobs: list[Job] = []
    empty: list[str] = []

    @hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
    def app(config: DictConfig) -> None:
        of_hydra = HydraConfig.get()
        is_alone = of_hydra.mode == RunMode.RUN
        if of_hydra.runtime.choices.get("sweep") and not of_hydra.sweeper.params:
            empty.append(of_hydra.runtime.choices["sweep"])
        jobs.append(Job(config, dict(of_hydra.runtime.choices), list(of_hydra.overrides.task), is_alone))

    with (
        mock.patch.object(sys, "argv", ["latentbench", *arguments]),  # which is where Hydra looks
        # It composes every run once more, lest one fail after others ran; here none runs before all are composed.
        mock.patch.object(Sweeper, "validate_batch_is_legal"),
    ):
        try:
            app()
        except ValueError as error:  # of Hydra, which does not say where
            raise UserError(f"{error} (in: {' '.join(arguments)})") from error
        except OSError as error:  # of Hydra, which makes a sweep's folder
            raise UserError(f"output_dir cannot be written ({error}): choose another") from error
    if not jobs and all(word in MULTIRUN or not word.startswith("-") for word in arguments):
        raise UserError("the grid is empty: a range or a list of choices in the command has no values")
    if empty:
        raise UserError(f"sweep={empty[0]} has an empty grid: say below hydra.sweeper.params what it varies")
    return jobs


def stop(reason: str) -> None:
    """End with a line that says why."""
    print(f"latentbench: {reason}", file=sys.stderr)
    sys.exit(2)

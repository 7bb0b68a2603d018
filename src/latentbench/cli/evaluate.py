"""`latentbench-evaluate`: measures runs that are trained already."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.cli.command import folders_and_words, run_command
from latentbench.errors import UserError

if TYPE_CHECKING:
    from latentbench.running.job import Job

HELP = """latentbench-evaluate: measures runs that are trained already; nothing is trained.

Usage:
  latentbench-evaluate outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d metric=[ais]    one run, or several folders
  latentbench-evaluate sweep=quick metric=[ais,mig] sampler=[prior,flow]          the runs of sweeps/quick.yaml
  latentbench-evaluate study=mine features=[inception]                            every run below outputs/mine
  latentbench-evaluate sweep=quick metric.nll.samples=5000                        the same metrics, other settings
  latentbench-evaluate sweep=quick measure_against=validation                     fid/prior@validation, nll/validation
  latentbench-evaluate sweep=quick metric=[fid] force=true                        measure again

metric, sampler, features   what to measure; by default what the run has measured. Only numbers that are missing are
measure_against             measured. A setting that you change replaces all numbers that it affects.
launcher, logger, threads   as for latentbench; trainer.accelerator=cpu measures on the CPU
study, output_dir, sweep    which runs, if no folder is named

Writes record.json and images.npz in the folder of each run. Numbers that are not measured again stay. A run that cannot
be used, or is locked, is named at the end, and all others are measured. Exit code 1: there is one.
"""
# The keys that say how to measure. With folders, any other key is an error: their runs are trained.
MEASURING_KEYS = (
    "metric", "sampler", "features", "measure_against", "launcher", "logger", "threads", "force", "trainer.accelerator"
)  # fmt: skip
SELECTING_KEYS = ("study", "output_dir")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1: a run cannot be used; 2: the command or no run can; otherwise as `launch`."""
    return run_command("latentbench-evaluate", _evaluate, arguments, help_text=HELP)


def _evaluate(arguments: list[str]) -> int:
    # Imported here, so that --help is quick.
    from latentbench.cli.launch import launch
    from latentbench.records.store import left_out_message

    folders, overrides = folders_and_words(arguments)
    is_sweep = "sweep" in _keys(overrides)
    composed = _runs_of_sweep(overrides) if is_sweep else _runs_of_folders([*map(Path, folders)], overrides)
    jobs, unusable = [], []
    for folder, job in composed.items():
        try:
            jobs.append(_stored_job(folder, job, overrides, is_alone=len(composed) == 1))
        except UserError as error:
            unusable.append(error)
    if not jobs:
        raise unusable[0]
    code = launch(jobs)
    for reason in unusable:
        print(f"latentbench-evaluate: {left_out_message(reason)}", file=sys.stderr)
    return max(code, 1) if unusable else code


def _keys(overrides: Sequence[str]) -> set[str]:
    return {word.partition("=")[0].lstrip("+~") for word in overrides}


def _runs_of_sweep(overrides: list[str]) -> "dict[Path, Job]":
    """The folders of a study's trained runs, and the jobs that say how to measure them."""
    from latentbench.cli.jobs import MULTIRUN_FLAGS, compose_jobs
    from latentbench.records.record import is_trained
    from latentbench.running.job import resolve

    composed = compose_jobs(["-m", *(word for word in overrides if word not in MULTIRUN_FLAGS)])
    by_folder = {resolve(job).folder: job for job in composed}
    trained = [folder for folder in by_folder if is_trained(folder)]
    if not trained:
        raise UserError(f"none of the {len(by_folder)} runs is trained: train them with latentbench")
    if len(trained) < len(by_folder):
        print(f"{len(by_folder) - len(trained)} of {len(by_folder)} runs are not trained yet", file=sys.stderr)
    return {folder: by_folder[folder] for folder in trained}


def _runs_of_folders(folders: list[Path], overrides: list[str]) -> "dict[Path, Job]":
    """The folders, or else those of the study's trained runs, and the job that says how to measure them."""
    from latentbench.cli.jobs import compose_jobs
    from latentbench.records.run_folder import CONFIG_NAME

    for key in sorted(_keys(overrides)):
        if not any(key == known or key.startswith(f"{known}.") for known in (*MEASURING_KEYS, *SELECTING_KEYS)):
            raise UserError(f"{key} is fixed once a run is trained: here you can set {', '.join(MEASURING_KEYS)}")
    (composed,) = compose_jobs(overrides)
    if not folders:
        study = Path(composed.config.output_dir) / composed.config.study
        folders = sorted(path.parent for path in study.glob(f"*/{CONFIG_NAME}"))
        if not folders:
            raise UserError(f"{study} has no trained runs: name a run's folder, study=... or sweep=...")
    return dict.fromkeys(folders, composed)


def _stored_job(folder: Path, composed: "Job", overrides: Sequence[str], *, is_alone: bool) -> "Job":
    """The job that measures a stored run with the recorded settings, except for those that the command changes."""
    from omegaconf import OmegaConf, open_dict

    from latentbench.configuration.catalogue import MEASURING_GROUPS
    from latentbench.records.keys import CLASSIFIER
    from latentbench.records.measuring import recorded_settings, settings_of
    from latentbench.records.record import FILE_NAME, load
    from latentbench.records.run_folder import load_config
    from latentbench.running.job import LOCK, Job
    from latentbench.running.locks import is_locked

    if is_locked(folder / LOCK):
        raise UserError(f"{folder} is locked by another process, which trains or measures it: wait until it has ended")
    config, record = load_config(folder), load(folder / FILE_NAME)
    choices: dict[str, Any] = OmegaConf.to_container(config.choices)  # type: ignore[assignment]
    keys = _keys(overrides)
    new = settings_of(OmegaConf.to_container(composed.config, resolve=True))  # type: ignore[arg-type]
    # What a run that is not measured yet was to be measured with is in its config.
    asked = settings_of(OmegaConf.to_container(config))  # type: ignore[arg-type]
    old = recorded_settings(record) if record.measured else asked
    old["features"] = old["features"] or asked["features"]  # which no metric has used so far
    with open_dict(config):
        for group in MEASURING_GROUPS:
            changed = {name for name in new[group] if any(key.startswith(f"{group}.{name}.") for key in keys)}
            names = new[group].keys() if group in keys else old[group].keys() | changed
            if group == "features" and group in keys:
                changed.add(CLASSIFIER)  # which one it is, is decided anew: one may have been trained since
            config[group] = {
                name: new[group][name] if name in changed or name not in old[group] else old[group][name]
                for name in names
            }
        config.measure_against = (new if "measure_against" in keys else old)["measure_against"]
        for key in ("launcher", "logger", "threads", "force"):
            if key in ("launcher", "force") or any(name.partition(".")[0] == key for name in keys):
                config[key] = composed.config[key]
        del config.choices, config.resolved
        if "trainer.accelerator" in keys:
            config.trainer.accelerator = composed.config.trainer.accelerator
    return Job(config, choices, [str(folder)], is_alone, stored=folder)

"""The command `latentbench`: composes runs and hands them to a launcher."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from latentbench import __version__
from latentbench.cli.command import output_may_be_cut
from latentbench.cli.jobs import composed_jobs
from latentbench.cli.launch import INTERRUPTED, launch, launcher_of
from latentbench.configuration.catalogue import CONF_DIR, check_names
from latentbench.configuration.compose import search_path
from latentbench.configuration.folders import take_folders
from latentbench.configuration.messages import explain
from latentbench.configuration.overrides import translate
from latentbench.configuration.value_checks import check
from latentbench.errors import UserError
from latentbench.running.job import Job

# Flags with which Hydra prints a config or its own help and runs nothing.
HYDRA_FLAGS = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"}


@output_may_be_cut()
def main() -> None:
    """Exit code 2: the command is invalid; otherwise as `launch`."""
    if "--version" in sys.argv[1:]:
        print(f"latentbench {__version__}")
        return
    try:
        arguments = take_folders(sys.argv[1:])
        check_names()
        if {"--help", "-h"} & set(arguments):
            from latentbench.cli.help import help_text

            print(help_text())
            return
        if HYDRA_FLAGS & {word.partition("=")[0] for word in arguments}:
            sys.argv[1:] = [*search_path(), *translate(arguments)]
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors, which are reported below
            _run_hydra_flag()
            return
        sys.exit(_run(arguments))
    except (UserError, HydraException, OmegaConfBaseException, YAMLError) as error:
        _exit_with([explain(error)])


@hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
def _run_hydra_flag(config: DictConfig) -> None:
    """Empty: Hydra handles the flag and exits before it calls this."""


def _run(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; of a study that tunes the trials, and then what they choose."""
    jobs = _compose(arguments)
    code = launch(jobs)
    if jobs[0].config.tune is None or code == INTERRUPTED:
        return code
    known = {job.command for job in jobs}
    chosen = [job for job in _compose(arguments) if job.command not in known]
    return max(code, launch(chosen)) if chosen else code


def _compose(arguments: Sequence[str]) -> list[Job]:
    """The runs of the command line. As soon as a second one shows that it is a sweep, its launcher prepares.

    Exits before anything runs if a value is invalid, and reports every such value.
    """
    jobs, problems = [], []
    for job in composed_jobs(arguments):
        jobs.append(job)
        try:
            check(job.config)
        except (UserError, OmegaConfBaseException) as error:
            problems.append(explain(error))
        if len(jobs) == 2 and not problems:
            launcher_of(jobs[0]).prepare(jobs[0])
    if problems:
        _exit_with(list(dict.fromkeys(problems)))
    return jobs


def _exit_with(reasons: list[str]) -> NoReturn:
    """Print each reason on a line of its own and exit with code 2."""
    for reason in reasons:
        print(f"latentbench: {reason}", file=sys.stderr)
    sys.exit(2)

"""The command `latentbench`: composes runs and hands them to a launcher."""

import contextlib
import sys
from collections import Counter
from typing import NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from latentbench import __version__
from latentbench.cli.jobs import compose_jobs
from latentbench.configuration.catalogue import CONF_DIR
from latentbench.configuration.messages import explain
from latentbench.configuration.value_checks import check
from latentbench.errors import UserError
from latentbench.running.job import Job
from latentbench.running.logging_setup import set_up_logging

# Flags with which Hydra prints a config or its own help and runs nothing.
HYDRA_FLAGS = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"}


def main() -> None:
    """Exit code 0: no run failed; 1: one failed or was killed; 2: the command or a run is invalid; 130: interrupted."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        from latentbench.cli.help import help_text

        with contextlib.suppress(BrokenPipeError):  # the reader of a pipe may stop early
            print(help_text(), flush=True)
        return
    if arguments == ["--version"]:
        print(f"latentbench {__version__}")
        return
    try:
        if HYDRA_FLAGS & {word.partition("=")[0] for word in arguments}:
            _run_hydra_flag()
            return
        jobs = compose_jobs(arguments)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _exit_with([explain(error)])
    _exit_if_invalid(jobs)
    _exit_with_code_of(_launch(jobs))


@hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
def _run_hydra_flag(config: DictConfig) -> None:
    """Empty: Hydra handles the flag and exits before it calls this."""


def _exit_if_invalid(jobs: list[Job]) -> None:
    """Exit before anything runs if a value is invalid; report every such value."""
    problems = []
    for job in jobs:
        try:
            check(job.config)
        except (UserError, OmegaConfBaseException) as error:
            problems.append(explain(error))
    if problems:
        _exit_with(list(dict.fromkeys(problems)))


def _launch(jobs: list[Job]) -> Counter[str]:
    """Run all jobs and count their outcomes."""
    from latentbench.running.build import build  # not at the top: it imports torch, which --help and errors do not need

    set_up_logging()
    try:
        outcomes: Counter[str] = build(jobs[0].config.launcher).launch(jobs)
    except UserError as error:
        _exit_with([explain(error)])
    except KeyboardInterrupt:
        print("latentbench: interrupted; the same command resumes the runs", file=sys.stderr)
        sys.exit(130)
    return outcomes


def _exit_with_code_of(outcomes: Counter[str]) -> None:
    if outcomes.total() > 1:
        print("runs:", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()), file=sys.stderr)
    sys.exit(1 if outcomes["failed"] or outcomes["killed"] else 2 if outcomes["invalid"] else 0)


def _exit_with(reasons: list[str]) -> NoReturn:
    """Print each reason on a line of its own and exit with code 2."""
    for reason in reasons:
        print(f"latentbench: {reason}", file=sys.stderr)
    sys.exit(2)

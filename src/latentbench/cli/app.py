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
from latentbench.configuration.validation import check
from latentbench.errors import UserError
from latentbench.running.job import Job
from latentbench.running.logging_setup import set_up_logging

# Flags by which Hydra shows a config or itself, and runs nothing.
HYDRA_FLAGS = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"}


def main() -> None:
    """Exit code 0: every run finished; 1: a run failed; 2: the command cannot be carried out as given."""
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
            _show_what_hydra_shows()
            return
        jobs = compose_jobs(arguments)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _exit_with([explain(error)])
    _exit_if_invalid(jobs)
    _exit_with_code_of(_launch(jobs))


@hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")
def _show_what_hydra_shows(config: DictConfig) -> None:
    """Hydra prints and ends before this is called."""


def _exit_if_invalid(jobs: list[Job]) -> None:
    """Stop before anything runs if a value has no meaning, and name every such value."""
    problems = []
    for job in jobs:
        try:
            check(job.config)
        except (UserError, OmegaConfBaseException) as error:
            problems.append(explain(error))
    if problems:
        _exit_with(list(dict.fromkeys(problems)))


def _launch(jobs: list[Job]) -> Counter[str]:
    """Run all; how many runs had which outcome."""
    from latentbench.running.build import build  # imports torch, which nothing before needs

    set_up_logging()
    try:
        outcomes: Counter[str] = build(jobs[0].config.launcher).launch(jobs)
    except UserError as error:
        _exit_with([explain(error)])
    except KeyboardInterrupt:
        print("latentbench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    return outcomes


def _exit_with_code_of(outcomes: Counter[str]) -> None:
    if outcomes.total() > 1:
        print("runs:", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()), file=sys.stderr)
    sys.exit(1 if outcomes["failed"] or outcomes["killed"] else 2 if outcomes["invalid"] else 0)


def _exit_with(reasons: list[str]) -> NoReturn:
    """End with a line for each reason."""
    for reason in reasons:
        print(f"latentbench: {reason}", file=sys.stderr)
    sys.exit(2)

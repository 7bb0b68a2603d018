"""Hands runs to their launcher and sums up the outcomes."""

import sys
from typing import Any

from latentbench.configuration.targets import build
from latentbench.running.job import Job
from latentbench.running.logging_setup import set_up_logging

INTERRUPTED = 130  # exit code after Ctrl-C


def launcher_of(job: Job) -> Any:
    """The `Launcher` of a job's config. Raises: UserError if its settings are invalid."""
    return build(job.config.launcher)


def launch(jobs: list[Job]) -> int:
    """Run all jobs with the launcher of the first one.

    Exit code: 0: no run failed; 1: a run or a metric failed, or a run was killed; 2: a run is invalid; 130: Ctrl-C.
    Raises: UserError if the launcher cannot be used.
    """
    set_up_logging()
    try:
        outcomes = launcher_of(jobs[0]).launch(jobs)
    except KeyboardInterrupt:
        print("latentbench: interrupted; the same command resumes the runs", file=sys.stderr)
        return INTERRUPTED
    if outcomes.total() > 1:
        print("runs:", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()), file=sys.stderr)
    if any(outcomes[outcome] for outcome in ("failed", "killed", "finished, but a metric failed")):
        return 1
    return 2 if outcomes["invalid"] else 0

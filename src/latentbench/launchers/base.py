"""The contract of a launcher: it executes runs, one or several at a time, on this machine or on others."""

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from latentbench.running.job import Job, Outcome, log_finished_before, resolve_or_none

log = logging.getLogger(__name__)


class Launcher(ABC):
    """Executes runs. A run that fails, or whose process dies, does not stop the others."""

    def prepare(self, job: Job) -> None:  # noqa: B027 - most launchers have nothing to prepare
        """Start what takes time while the runs of a sweep are composed, of which this is the first."""

    @abstractmethod
    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        """Run all jobs and count their outcomes."""


def is_finished(job: Job) -> bool:
    """Whether the run of a job is finished and need not be submitted; if so, logs it."""
    run = resolve_or_none(job)
    if run is None or not run.is_done:
        return False
    log_finished_before(run)
    return True


class SweepProgress:
    """The progress bar of a sweep: run k of n and the time left. Silent for a single run."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.n_runs = len(jobs)
        self.is_silent = jobs[0].is_alone
        self.study = jobs[0].config.study
        self.n_started = self.n_ended = 0

    def __enter__(self) -> "SweepProgress":
        disable = True if self.is_silent else None  # None: tqdm checks for a terminal
        self.bar = tqdm(total=self.n_runs, desc=f"sweep {self.study}", unit="run", disable=disable)
        self.start_time = time.monotonic()
        return self

    def start_run(self, job: Job) -> None:
        """Log which run starts."""
        self.n_started += 1
        if not self.is_silent:
            log.info("run %d of %d: %s", self.n_started, self.n_runs, job.command)

    def end_run(self) -> None:
        """Advance the bar; without one, log the time left."""
        self.bar.update()
        self.n_ended += 1
        seconds = (time.monotonic() - self.start_time) / self.n_ended * (self.n_runs - self.n_ended)
        if not self.is_silent and self.bar.disable and self.n_ended < self.n_runs:
            log.info("about %d min %02d s left", *divmod(round(seconds), 60))

    def __exit__(self, *error: object) -> None:
        self.bar.close()

"""The contract of a launcher: work through runs, one or many at a time, here or elsewhere."""

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from latentbench.errors import UserError
from latentbench.records.record import status_of
from latentbench.running.job import Job, settle

log = logging.getLogger(__name__)


class Launcher(ABC):
    """Works through runs. One that fails, or takes its process with it, costs that run alone."""

    @abstractmethod
    def launch(self, jobs: Sequence[Job]) -> Counter[str]:
        """Run all; how many came to what."""


def is_finished(job: Job) -> bool:
    """Whether there is nothing to do for it, said as the run itself would say it: it needs no place in a queue."""
    try:
        run_dir = settle(job.config, job.options)[2]
    except (UserError, OmegaConfBaseException):  # which the run says
        return False
    if job.config.force or status_of(run_dir) != "finished":
        return False
    log.info("%s is finished already (force=true runs it again)", run_dir)
    return True


class SweepProgress:
    """A sweep's bar: run k of n and the time left. Nothing is said of a run that is alone."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.total = len(jobs)
        self.is_silent = jobs[0].is_alone
        self.study = jobs[0].config.study
        self.begun = self.done = 0

    def __enter__(self) -> "SweepProgress":
        """Open the bar."""
        self.bar = tqdm(
            total=self.total, desc=f"sweep {self.study}", unit="run", disable=True if self.is_silent else None
        )
        self.started = time.monotonic()
        return self

    def begin(self, job: Job) -> None:
        """Say which run begins."""
        self.begun += 1
        if not self.is_silent:
            log.info("run %d of %d: %s", self.begun, self.total, " ".join(job.overrides))

    def end(self) -> None:
        """One run further."""
        self.bar.update()
        self.done += 1
        seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        if not self.is_silent and self.bar.disable and self.done < self.total:
            log.info("about %d min %02d s left", *divmod(round(seconds), 60))

    def __exit__(self, *error: object) -> None:
        """Close the bar."""
        self.bar.close()

"""As many runs at a time as this machine can take."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import joblib

from latentbench.launchers.local import Local, gpu_places
from latentbench.launchers.serial import Serial
from latentbench.running.job import Job, Outcome

SECONDS_ALONE = 2.0  # in which one worker may finish a sweep before others are started


class Auto(Local):
    """`Local` with a worker per GPU, or where there are none one per `threads` processors.

    `Serial` for a single run, and where processors take one at a time.
    runs_per_device: as of `Local`; with auto, no more workers than processors, but one per GPU
    """

    def __init__(self, *, runs_per_device: int | Literal["auto"]) -> None:
        # joblib knows the limits of a container, too.
        super().__init__(n_jobs=joblib.cpu_count(), runs_per_device=runs_per_device)

    def prepare(self, job: Job) -> None:
        if self._has_workers(job):
            super().prepare(job)

    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        return super().launch(jobs) if len(jobs) > 1 and self._has_workers(jobs[0]) else Serial().launch(jobs)

    def _has_workers(self, job: Job) -> bool:
        return self._by_processors(job) > 1 or gpu_places(job) > 0  # one GPU, too, is leased by its worker

    def _by_processors(self, job: Job) -> int:
        """How many runs like this one the processors take."""
        devices = job.config.trainer.devices
        processes = devices if type(devices) is int and devices > 0 else 1
        return max(1, self.n_jobs // (int(job.config.threads) * processes))

    def _at_once(self, job: Job, places: int, per_device: int, seconds: float) -> int:
        # How long a run takes is not known before. So a sweep of a few seconds shows itself by having ended.
        if seconds < SECONDS_ALONE:
            return 1
        if not places:
            return self._by_processors(job)
        by_memory = places * per_device
        return min(by_memory, max(places, self._by_processors(job))) if self.runs_per_device == "auto" else by_memory

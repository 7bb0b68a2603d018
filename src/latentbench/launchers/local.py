"""Several runs at a time on this machine."""

import contextlib
import logging
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from omegaconf import ListConfig

from latentbench.errors import check_whole_number
from latentbench.launchers.base import Launcher, SweepProgress
from latentbench.running.job import Job
from latentbench.running.locks import leased_devices
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.subprocess_run import end_with
from latentbench.running.train import attempt

log = logging.getLogger(__name__)


class Local(Launcher):
    """`n_jobs` processes that each work through runs; on a machine with GPUs each leases what its run takes.

    runs_per_device: how many processes, of all sweeps of this user on this machine, may use a GPU at once. A process
    that the operating system kills costs the run it was at, which the same command takes up again, and is replaced.
    Raises: UserError unless both are whole numbers, 1 or more.
    """

    def __init__(self, *, n_jobs: int, runs_per_device: int) -> None:
        self.n_jobs = check_whole_number("launcher.n_jobs", n_jobs, minimum=1)
        self.runs_per_device = check_whole_number("launcher.runs_per_device", runs_per_device, minimum=1)

    def launch(self, jobs: Sequence[Job]) -> Counter[str]:
        """Run all."""
        os.environ["TQDM_DISABLE"] = "1"  # for the workers, whose bars would write over each other
        outcomes: Counter[str] = Counter()
        waiting = list(reversed(jobs))
        busy: dict[Connection, tuple[BaseProcess, Job]] = {}
        with SweepProgress(jobs) as progress:
            while waiting or busy:
                while waiting and len(busy) < self.n_jobs:
                    self._give(busy, self._worker(), waiting.pop(), progress)
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    process, job = busy.pop(connection)
                    outcome = _outcome(connection, process, job)
                    outcomes[outcome] += 1
                    progress.end()
                    if outcome != "killed" and waiting:
                        self._give(busy, (connection, process), waiting.pop(), progress)
                    else:
                        connection.close()
        return outcomes

    def _worker(self) -> tuple[Connection, BaseProcess]:
        context = multiprocessing.get_context("spawn")  # a process that has used a GPU cannot be forked
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, self.runs_per_device), daemon=True)
        process.start()
        there.close()  # so that the end of the process is the end of what can be read
        return here, process

    def _give(
        self,
        busy: dict[Connection, tuple[BaseProcess, Job]],
        worker: tuple[Connection, BaseProcess],
        job: Job,
        progress: SweepProgress,
    ) -> None:
        connection, process = worker
        progress.begin(job)
        with contextlib.suppress(OSError):  # of a process that is no more, which `_outcome` says
            connection.send(job)
        busy[connection] = process, job


def _outcome(connection: Connection, process: BaseProcess, job: Job) -> str:
    """What became of a run, as its process says, or that the process is no more."""
    try:
        outcome: str = connection.recv()
    except (EOFError, OSError):
        process.join()
        words = " ".join(job.overrides)
        log.error("killed (exit code %s): %s; the same command goes on with it", process.exitcode, words)
        return "killed"
    return outcome


def work(connection: Any, runs_per_device: int) -> None:
    """Run what comes, and say what became of it, until nothing comes any more."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    set_up_logging()
    try:
        while True:
            job = connection.recv()
            names, n = devices_of(job)
            with leased_devices(names, n, runs_per_device=runs_per_device) as devices:
                outcome = attempt(job, devices=devices)
            connection.send(outcome)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def devices_of(job: Job) -> tuple[dict[int, str], int]:
    """The GPUs of which a run takes some, number -> name, and how many."""
    trainer, there = job.config.trainer, torch.cuda.device_count()
    if trainer.accelerator == "cpu" or not there:
        return {}, 0
    names = {device: str(torch.cuda.get_device_properties(device).uuid) for device in range(there)}
    if isinstance(trainer.devices, ListConfig):
        return {device: names[device] for device in trainer.devices if device in names}, len(trainer.devices)
    return names, trainer.devices if type(trainer.devices) is int and trainer.devices >= 0 else there

"""Several runs at a time on this machine."""

import contextlib
import logging
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from omegaconf import ListConfig

from latentbench.errors import UserError, check_whole_number
from latentbench.launchers.base import Launcher, SweepProgress
from latentbench.running.job import Job, Outcome, log_killed
from latentbench.running.locks import leased_devices
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.run import run_job

log = logging.getLogger(__name__)


class Local(Launcher):
    """`n_jobs` worker processes that execute one run at a time; where there are GPUs, each run leases those it needs.

    runs_per_device: how many runs, of all sweeps of this user on this machine, may use a GPU at once. A worker that
    is killed loses the run it was executing, which the same command resumes, and is replaced.
    Raises: UserError unless both are whole numbers, 1 or more.
    """

    def __init__(self, *, n_jobs: int, runs_per_device: int) -> None:
        self.n_jobs = check_whole_number("launcher.n_jobs", n_jobs, minimum=1)
        self.runs_per_device = check_whole_number("launcher.runs_per_device", runs_per_device, minimum=1)

    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        os.environ["TQDM_DISABLE"] = "1"  # in the workers, whose bars would overwrite each other
        outcomes: Counter[Outcome] = Counter()
        waiting = list(reversed(jobs))
        busy: dict[Connection, tuple[BaseProcess, Job]] = {}
        with SweepProgress(jobs) as progress:
            while waiting or busy:
                while waiting and len(busy) < self.n_jobs:
                    self._assign(busy, self._start_worker(), waiting.pop(), progress)
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    process, job = busy.pop(connection)
                    outcome = _receive_outcome(connection, process, job)
                    outcomes[outcome] += 1
                    progress.end_run()
                    if outcome != "killed" and waiting:
                        self._assign(busy, (connection, process), waiting.pop(), progress)
                    else:
                        connection.close()
        return outcomes

    def _start_worker(self) -> tuple[Connection, BaseProcess]:
        context = forking_context()
        own_end, worker_end = context.Pipe()
        process = context.Process(target=work, args=(worker_end, self.runs_per_device), daemon=True)
        process.start()
        worker_end.close()  # so that reading fails once the worker has ended
        return own_end, process

    def _assign(
        self,
        busy: dict[Connection, tuple[BaseProcess, Job]],
        worker: tuple[Connection, BaseProcess],
        job: Job,
        progress: SweepProgress,
    ) -> None:
        connection, process = worker
        progress.start_run(job)
        with contextlib.suppress(OSError):  # the worker has died, which `_receive_outcome` reports
            connection.send(job)
        busy[connection] = process, job


def forking_context() -> ForkServerContext:
    """Starts processes as forks of a server, which has imported torch once but never uses it.

    The command itself cannot be forked if it has used a GPU or trained a model.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run_job.__module__])
    return context


def _receive_outcome(connection: Connection, process: BaseProcess, job: Job) -> Outcome:
    """The outcome that the worker sends; "killed" if the worker has died."""
    try:
        outcome: Outcome = connection.recv()
    except (EOFError, OSError):
        process.join()
        return log_killed(job, f"exit code {process.exitcode}")
    return outcome


def work(connection: Any, runs_per_device: int) -> None:
    """In a worker: receive jobs, run them and send their outcomes, until the connection is closed."""
    threading.Thread(target=_exit_with_command, daemon=True).start()
    set_up_logging()
    try:
        while True:
            job = connection.recv()
            names, n = usable_gpus(job)
            try:
                with leased_devices(names, n, runs_per_device=runs_per_device) as devices:
                    outcome = run_job(job, devices=devices)
            except UserError as error:  # of leasing; `run_job` raises none
                log.error("latentbench: %s", error)
                outcome = "invalid"
            connection.send(outcome)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _exit_with_command() -> None:
    """Wait until the process that started this one has ended, then end this process, as nothing reads its outcomes."""
    command = multiprocessing.parent_process()
    assert command is not None
    command.join()
    os._exit(1)


def usable_gpus(job: Job) -> tuple[dict[int, str], int]:
    """The GPUs that a run may use, number -> unique name, and how many of them it needs."""
    trainer, n_gpus = job.config.trainer, torch.cuda.device_count()
    if trainer.accelerator == "cpu" or not n_gpus:
        return {}, 0
    names = {device: str(torch.cuda.get_device_properties(device).uuid) for device in range(n_gpus)}
    if isinstance(trainer.devices, ListConfig):
        return {device: names[device] for device in trainer.devices if device in names}, len(trainer.devices)
    return names, trainer.devices if type(trainer.devices) is int and trainer.devices >= 0 else n_gpus

"""Several runs at a time on this machine."""

import contextlib
import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from omegaconf import ListConfig, OmegaConf

from latentbench.configuration.catalogue import TARGET
from latentbench.errors import UserError, check_whole_number
from latentbench.launchers.base import Launcher, SweepProgress
from latentbench.launchers.device_memory import Memory, measured_memory, runs_that_fit
from latentbench.running.job import Job, Outcome, log_killed
from latentbench.running.locks import leased_devices
from latentbench.running.logging_setup import set_up_logging

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between looks at whether more runs may start

Worker = tuple[Connection, BaseProcess]


class Local(Launcher):
    """`n_jobs` worker processes that execute one run at a time; where there are GPUs, each run leases those it needs.

    runs_per_device: how many runs, of all sweeps of this user on this machine, may use a GPU at once; auto: one until
    the first has ended, then as many as fit into the GPU's memory by the largest so far
    A worker that is killed loses the run it was executing, which the same command resumes, and is replaced.
    Raises: UserError unless both are whole numbers, 1 or more, or the second is auto.
    """

    def __init__(self, *, n_jobs: int, runs_per_device: int | Literal["auto"]) -> None:
        self.n_jobs = check_whole_number("launcher.n_jobs", n_jobs, minimum=1)
        if runs_per_device != "auto" and (type(runs_per_device) is not int or runs_per_device < 1):
            raise UserError(f"launcher.runs_per_device={runs_per_device}: give a whole number, 1 or more, or auto")
        self.runs_per_device = runs_per_device

    def prepare(self, job: Job) -> None:
        os.environ["TQDM_DISABLE"] = "1"  # in the workers, whose bars would overwrite each other
        targets = TARGET.findall(OmegaConf.to_yaml(job.config))
        forking_context(target.rpartition(".")[0] for target in targets if target.startswith("latentbench."))
        forkserver.ensure_running()

    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        self.prepare(jobs[0])
        outcomes: Counter[Outcome] = Counter()
        waiting = list(reversed(jobs))
        busy: dict[Connection, tuple[BaseProcess, Job]] = {}
        idle: list[Worker] = []
        measured: list[Memory] = []
        places, start = gpu_places(jobs[0]), time.monotonic()
        with SweepProgress(jobs) as progress:
            while waiting or busy:
                per_device = runs_that_fit(measured) if self.runs_per_device == "auto" else self.runs_per_device
                at_once = self._at_once(jobs[0], places, per_device, time.monotonic() - start)
                while waiting and len(busy) < at_once:
                    worker = idle.pop() if idle else _start_worker()
                    self._assign(busy, worker, waiting.pop(), per_device, progress)
                while idle:
                    idle.pop()[0].close()  # which ends the worker
                for connection in wait(list(busy), timeout=POLL_SECONDS if waiting else None):
                    assert isinstance(connection, Connection)
                    process, job = busy.pop(connection)
                    outcome, memory = _receive(connection, process, job)
                    outcomes[outcome] += 1
                    progress.end_run()
                    measured += [memory] if memory else []
                    if outcome == "killed":
                        connection.close()
                    else:
                        idle.append((connection, process))
        return outcomes

    def _at_once(self, job: Job, places: int, per_device: int, seconds: float) -> int:
        """How many workers have a run at a time.

        job: one of the sweep; places: as of `gpu_places`; seconds: since the first run started
        """
        # Else a worker would wait for a device that it may share with fewer runs than those that start after it.
        return min(self.n_jobs, places * per_device) if places and self.runs_per_device == "auto" else self.n_jobs

    def _assign(
        self,
        busy: dict[Connection, tuple[BaseProcess, Job]],
        worker: Worker,
        job: Job,
        per_device: int,
        progress: SweepProgress,
    ) -> None:
        connection, process = worker
        progress.start_run(job)
        with contextlib.suppress(OSError):  # the worker has died, which `_receive` reports
            connection.send((job, per_device))
        busy[connection] = process, job


def forking_context(further_modules: Iterable[str] = ()) -> ForkServerContext:
    """Starts processes as forks of a server, which has imported torch once but never uses it.

    The command itself cannot be forked if it has used a GPU or trained a model. It need not import torch.
    further_modules: what else the server imports when it starts
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["latentbench.running.run", *further_modules])
    return context


def _start_worker() -> Worker:
    context = multiprocessing.get_context("forkserver")
    own_end, worker_end = context.Pipe()
    process = context.Process(target=work, args=(worker_end,), daemon=True)
    process.start()
    worker_end.close()  # so that reading fails once the worker has ended
    return own_end, process


def _receive(connection: Connection, process: BaseProcess, job: Job) -> tuple[Outcome, Memory | None]:
    """The outcome that the worker sends, and what the run took of its GPU; "killed" if the worker has died."""
    try:
        received: tuple[Outcome, Memory | None] = connection.recv()
    except (EOFError, OSError):
        process.join()
        return log_killed(job, f"exit code {process.exitcode}"), None
    return received


def work(connection: Any) -> None:
    """In a worker: receive jobs, run them and send what came of them, until the connection is closed."""
    from latentbench.running.run import run_job  # imported by the server; the command does without torch

    threading.Thread(target=_exit_with_command, daemon=True).start()
    set_up_logging()
    try:
        while True:
            job, per_device = connection.recv()
            names, n = usable_gpus(job)
            memory = None
            try:
                with leased_devices(names, n, runs_per_device=per_device) as devices:
                    outcome = run_job(job, devices=devices)
                    if devices and outcome.startswith("finished"):
                        memory = measured_memory(devices, is_alone=per_device == 1)
            except UserError as error:  # of leasing; `run_job` raises none
                log.error("latentbench: %s", error)
                outcome = "invalid"
            connection.send((outcome, memory))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _exit_with_command() -> None:
    """Wait until the process that started this one has ended, then end this process, as nothing reads its outcomes."""
    command = multiprocessing.parent_process()
    assert command is not None
    command.join()
    os._exit(1)


def gpus_of(job: Job, n_gpus: int) -> tuple[list[int], int]:
    """Numbers of the GPUs that a run may use, of `n_gpus` there are, and how many of them it needs."""
    trainer = job.config.trainer
    if trainer.accelerator == "cpu" or not n_gpus:
        return [], 0
    if isinstance(trainer.devices, ListConfig):
        return [device for device in trainer.devices if device in range(n_gpus)], len(trainer.devices)
    return list(range(n_gpus)), trainer.devices if type(trainer.devices) is int and trainer.devices >= 0 else n_gpus


def gpu_places(job: Job) -> int:
    """How many runs like this one the GPUs take, none of which is shared."""
    if job.config.trainer.accelerator == "cpu":
        return 0
    import torch  # only here, as it takes a second

    numbers, needed = gpus_of(job, torch.cuda.device_count())
    return len(numbers) // needed if needed else 0


def usable_gpus(job: Job) -> tuple[dict[int, str], int]:
    """The GPUs that a run may use, number -> unique name, and how many of them it needs."""
    import torch

    numbers, needed = gpus_of(job, torch.cuda.device_count())
    return {number: str(torch.cuda.get_device_properties(number).uuid) for number in numbers}, needed

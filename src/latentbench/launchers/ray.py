"""Runs on the machines of a Ray cluster."""

import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from latentbench.configuration.folders import VARIABLE
from latentbench.errors import UserError, check_number
from latentbench.launchers.base import Launcher, SweepProgress, is_finished
from latentbench.running.job import Job, Outcome, log_killed
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.run import run_job

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds to wait for a cluster's response, and for runs to close their files after Ctrl-C
LOG_DELAY = 1.0  # seconds to wait for the last messages of runs on other machines


class Ray(Launcher):
    """A Ray task per run, which reserves processors and GPUs. A run whose process dies does not stop the others.

    cpus, gpus: per run; a fraction of a GPU lets several runs share it
    Raises: UserError if `gpus` or `cpus` cannot be reserved, if Ray is not installed, if there is no cluster at the
    address, or if none of its machines has what a run needs.
    """

    def __init__(self, *, address: str | None, cpus: float, gpus: float) -> None:
        self.address = None if address is None else str(address)
        self.cpus = check_number("launcher.cpus", cpus, above=0)
        self.gpus = check_number("launcher.gpus", gpus, minimum=0)
        for name, value in (("cpus", self.cpus), ("gpus", self.gpus)):
            if value > 1 and value % 1:
                raise UserError(f"launcher.{name}={value:g}: give a whole number, or a fraction below 1")

    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        ray = self._connect()
        try:
            self._check_resources(ray)
            # A task that died is not retried: what kills a run often kills it twice.
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(work)
            outcomes = _run_all(ray, task, jobs)
            time.sleep(LOG_DELAY)
            return outcomes
        finally:
            ray.shutdown()

    def _connect(self) -> ModuleType:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # statistics need a network
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # show a message of every run, even if several write the same
        if not sys.stderr.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError(f"launcher=ray needs Ray ({error}): pip install 'latentbench[ray]'") from error
        try:
            if self.address is not None:
                _check_reachable(os.environ.get("RAY_ADDRESS", "auto") if self.address == "auto" else self.address)
            new_cluster = {"address": "local", "include_dashboard": False}
            ray.init(**({"address": self.address} if self.address else new_cluster), logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"launcher.address={self.address}: there is no Ray cluster ({str(error).split('. ')[0]}): start one "
                "with `ray start --head`, give its host:port, or take launcher.address=null for this machine alone"
            ) from error
        module: ModuleType = ray
        return module

    def _check_resources(self, ray: Any) -> None:
        """Raises: UserError if no machine has the resources of a task, since Ray would wait forever."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(has.get("CPU", 0) >= self.cpus and has.get("GPU", 0) >= self.gpus for has in machines):
            resources = "; ".join(f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}" for has in machines)
            raise UserError(
                f"no machine of the Ray cluster has {self.cpus:g} processors and {self.gpus:g} GPUs for a run (they "
                f"have {resources}): give launcher.cpus and launcher.gpus (0 where there are no GPUs)"
            )


def _check_reachable(address: str) -> None:
    """Ray itself waits for minutes at an address where nothing answers. Raises: OSError, ValueError."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()


def _run_all(ray: Any, task: Any, jobs: Sequence[Job]) -> Counter[Outcome]:
    """Submit a task for every job that is not finished and wait for all."""
    outcomes: Counter[Outcome] = Counter()
    running: dict[Any, Job] = {}
    with SweepProgress(jobs) as progress:
        for number, job in enumerate(jobs, 1):
            if is_finished(job):
                outcomes["finished before"] += 1
                progress.end_run()
            else:
                title = f"run {number} of {len(jobs)}"
                reference = task.remote(job, title, os.getcwd(), os.environ.get(VARIABLE, ""))
                running[reference] = job
        try:
            while running:
                (ended,), _ = ray.wait(list(running))
                outcomes[_get_outcome(ray, ended, running.pop(ended))] += 1
                progress.end_run()
        except KeyboardInterrupt:
            for reference in running:
                ray.cancel(reference)
            ray.wait(list(running), num_returns=len(running), timeout=TIMEOUT)
            raise
    return outcomes


def _get_outcome(ray: Any, reference: Any, job: Job) -> Outcome:
    """The outcome that the task returned; "killed" if its process died."""
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # before the run started, on a machine without latentbench for example
        log.error("failed: %s: %s", job.command, str(error).strip().splitlines()[-1])
        return "failed"
    except ray.exceptions.RayError as error:
        return log_killed(job, type(error).__name__)
    return outcome


def work(job: Job, title: str, folder: str, option_folders: str) -> Outcome:
    """In a task: run the job on the machine and the GPUs that Ray chose.

    title: the number of the run, for messages; folder: the working directory of the command
    option_folders: those that its arguments name, which processes of a cluster do not inherit
    """
    import ray

    os.environ[VARIABLE] = option_folders

    set_up_logging()
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    if not gpus:  # otherwise Ray has set it to the GPUs of this task
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    where = ", ".join([f"node {ray.util.get_node_ip_address()}", *(f"GPU {gpu}" for gpu in gpus)])
    log.info("%s, on %s: %s", title, where, job.command)
    try:
        os.chdir(folder)
    except OSError as error:
        log.error("latentbench: %s has no %s (%s): start in a folder that all nodes share", where, folder, error)
        return "invalid"
    return run_job(job)

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

from latentbench.errors import UserError, check_number
from latentbench.launchers.base import Launcher, SweepProgress, is_finished
from latentbench.running.job import Job
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.train import attempt

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that a cluster has to answer, and runs have to close what they write after Ctrl-C
LAST_WORDS = 1.0  # seconds until what the runs said last has come from other machines


class Ray(Launcher):
    """A Ray task per run, with the processors and GPUs that Ray leases to it. One whose process dies is lost alone.

    Raises: UserError if `gpus` or `cpus` is no number that can be leased, without Ray, if there is no cluster at the
    address, or if none of its machines has what a run needs.
    """

    def __init__(self, *, address: str | None, cpus: float, gpus: float) -> None:
        self.address = None if address is None else str(address)
        self.cpus = check_number("launcher.cpus", cpus, above=0)
        self.gpus = check_number("launcher.gpus", gpus, minimum=0)
        for name, value in (("cpus", self.cpus), ("gpus", self.gpus)):
            if value > 1 and value % 1:
                raise UserError(f"launcher.{name}={value:g}: give a whole number, or a part of one")

    def launch(self, jobs: Sequence[Job]) -> Counter[str]:
        """Run all."""
        ray = self._connected()
        try:
            self._check_that_it_fits(ray)
            # A task that died is not tried again: what kills a run often kills it twice.
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(work)
            outcomes = _all(ray, task, jobs)
            time.sleep(LAST_WORDS)
            return outcomes
        finally:
            ray.shutdown()

    def _connected(self) -> ModuleType:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run needs no network
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # what several runs say alike, each of them says
        if not sys.stderr.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError(f"launcher=ray needs Ray ({error}): pip install 'latentbench[ray]'") from error
        try:
            if self.address is not None:
                _knock(os.environ.get("RAY_ADDRESS", "auto") if self.address == "auto" else self.address)
            alone = {"address": "local", "include_dashboard": False}
            ray.init(**({"address": self.address} if self.address else alone), logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"launcher.address={self.address}: there is no Ray cluster ({str(error).split('. ')[0]}): start one "
                "with `ray start --head`, give its host:port, or take launcher.address=null for this machine alone"
            ) from error
        module: ModuleType = ray
        return module

    def _check_that_it_fits(self, ray: Any) -> None:
        """A task that no machine can ever take would wait for ever."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(has.get("CPU", 0) >= self.cpus and has.get("GPU", 0) >= self.gpus for has in machines):
            there = "; ".join(f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}" for has in machines)
            raise UserError(
                f"no machine of the Ray cluster has {self.cpus:g} processors and {self.gpus:g} GPUs for a run (they "
                f"have {there}): give launcher.cpus and launcher.gpus (0 where there are no GPUs)"
            )


def _knock(address: str) -> None:
    """Ray itself waits for minutes at an address where nobody answers. Raises: OSError, ValueError."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _all(ray: Any, task: Any, jobs: Sequence[Job]) -> Counter[str]:
    """Hand everything to the scheduler and wait for it."""
    outcomes: Counter[str] = Counter()
    waiting: dict[Any, Job] = {}
    with SweepProgress(jobs) as progress:
        for place, job in enumerate(jobs, 1):
            if is_finished(job):
                outcomes["finished before"] += 1
                progress.end()
            else:
                waiting[task.remote(job, f"run {place} of {len(jobs)}", os.getcwd())] = job
        try:
            while waiting:
                (ended,), _ = ray.wait(list(waiting))
                outcomes[_outcome(ray, ended, waiting.pop(ended))] += 1
                progress.end()
        except KeyboardInterrupt:
            for reference in waiting:
                ray.cancel(reference)
            ray.wait(list(waiting), num_returns=len(waiting), timeout=PATIENCE)
            raise
    return outcomes


def _outcome(ray: Any, reference: Any, job: Job) -> str:
    """What became of a run, as its task says, or that there is nobody left to say it."""
    words = " ".join(job.overrides)
    try:
        outcome: str = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # it never came to the run: a machine without latentbench, say
        log.error("failed: %s: %s", words, str(error).strip().splitlines()[-1])
        return "failed"
    except ray.exceptions.RayError as error:
        log.error("killed (%s): %s; the same command goes on with it", type(error).__name__, words)
        return "killed"
    return outcome


def work(job: Job, title: str, folder: str) -> str:
    """Run it on the machine and the GPUs that Ray chose; folder: where the command was given."""
    import ray

    set_up_logging()
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    if not gpus:  # otherwise Ray has set it, so that the run sees those alone
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    where = ", ".join([f"node {ray.util.get_node_ip_address()}", *(f"GPU {gpu}" for gpu in gpus)])
    log.info("%s, on %s: %s", title, where, " ".join(job.overrides))
    try:
        os.chdir(folder)
    except OSError as error:
        log.error("latentbench: %s has no %s (%s): start in a folder that all nodes share", where, folder, error)
        return "wrong"
    return attempt(job)

"""Runs in the queue of a Slurm cluster."""

import contextlib
import getpass
import io
import logging
import math
import os
import shutil
import signal
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from latentbench.errors import UserError, check_number, check_whole_number
from latentbench.launchers.base import Launcher, SweepProgress, is_finished
from latentbench.running.job import Job
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.train import attempt

log = logging.getLogger(__name__)

CLUSTERS = ("slurm", "local")
WAIT = 1.0  # seconds between two looks at results
BETWEEN_LOOKS = 20.0  # seconds, at the queue


class Slurm(Launcher):
    """A task of a job array per run, handed in by submitit. Whatever Slurm ends costs that run alone.

    The command waits and counts; the queue does not need it, and goes on without it.
    Raises: UserError if a setting has no meaning, without submitit, where there is no sbatch, or if that refuses.
    """

    def __init__(
        self,
        *,
        cluster: str,
        partition: str | None,
        minutes: int,
        cpus_per_task: int,
        gpus_per_node: int,
        mem_gb: float,
        array_parallelism: int,
        folder: str,
        sbatch: Mapping[str, Any],
    ) -> None:
        if cluster not in CLUSTERS:
            raise UserError(f"launcher.cluster={cluster}: choose one of {', '.join(CLUSTERS)}")
        self.cluster = cluster
        self.folder = folder
        self.parameters = {
            "timeout_min": check_whole_number("launcher.minutes", minutes, minimum=1),
            "cpus_per_task": check_whole_number("launcher.cpus_per_task", cpus_per_task, minimum=1),
            "mem_gb": check_number("launcher.mem_gb", mem_gb, above=0),
            "slurm_array_parallelism": check_whole_number("launcher.array_parallelism", array_parallelism, minimum=1),
            "slurm_additional_parameters": dict(sbatch),
        }
        if partition is not None:
            self.parameters["slurm_partition"] = partition
        if check_whole_number(
            "launcher.gpus_per_node", gpus_per_node, minimum=0
        ):  # a cluster without GPUs may refuse a 0
            self.parameters["gpus_per_node"] = gpus_per_node

    def launch(self, jobs: Sequence[Job]) -> Counter[str]:
        """Run all that are not finished."""
        outcomes: Counter[str] = Counter()
        to_do = [job for job in jobs if not is_finished(job)]
        with SweepProgress(jobs) as progress:
            for _ in range(len(jobs) - len(to_do)):
                outcomes["finished before"] += 1
                progress.end()
            waiting = dict(zip(self._handed_in(to_do), to_do, strict=True)) if to_do else {}
            try:
                for task in self._ended(list(waiting)):
                    outcomes[_outcome(task, waiting.pop(task))] += 1
                    progress.end()
            except KeyboardInterrupt:
                ids = " ".join(sorted({task.job_id.partition("_")[0] for task in waiting}))
                log.warning(
                    "%d runs stay in the queue and go on: latentbench-status, with the same arguments, shows how far "
                    "they are; `scancel %s` ends them",
                    len(waiting),
                    ids,
                )
                raise
        return outcomes

    def _handed_in(self, jobs: Sequence[Job]) -> list[Any]:
        try:
            import submitit
        except ImportError as error:
            raise UserError(f"launcher=slurm needs submitit ({error}): pip install 'latentbench[slurm]'") from error
        for command in ("sbatch", "srun", "squeue"):
            if self.cluster == "slurm" and shutil.which(command) is None:
                raise UserError(
                    f"launcher=slurm: there is no {command} here: give the command on a machine from which jobs are "
                    "submitted, or try launcher.cluster=local"
                )
        executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        executor.update_parameters(name=f"latentbench-{jobs[0].config.study}", **self.parameters)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where submitit repeats what sbatch says, which is below
                tasks: list[Any] = executor.map_array(work, jobs)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
            raise UserError(f"sbatch did not take the runs: {' '.join(str(error).split())}") from error
        log.info("%d runs are in the queue; what they say is in %s", len(jobs), self.folder)
        return tasks

    def _ended(self, tasks: list[Any]) -> Iterator[Any]:
        """Each as it ends: it has left a result, or is in the queue no more.

        The queue is asked, since not every cluster keeps accounts, and what is preempted may come back to it.
        """
        looked, gone = -math.inf, set[Any]()
        while tasks:
            folder = tasks[0].paths.folder
            folder.chmod(folder.stat().st_mode)  # so that a network file system looks anew
            ended = {task for task in tasks if _has_result(task)}
            if time.monotonic() - looked > BETWEEN_LOOKS:
                queued = self._queued(tasks)
                unseen = {task for task in tasks if task.job_id not in queued}
                ended |= unseen & gone  # twice: a result takes its time through a network file system
                looked, gone = time.monotonic(), unseen
            yield from ended
            tasks = [task for task in tasks if task not in ended]
            time.sleep(WAIT if tasks else 0)

    def _queued(self, tasks: list[Any]) -> set[str]:
        """Ids of those that wait or run; of all if the queue cannot be asked."""
        if self.cluster == "local":
            return {task.job_id for task in tasks if not task.done()}
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        return set(listed.stdout.split()) if listed.returncode == 0 else {task.job_id for task in tasks}


def _has_result(task: Any) -> bool:
    return bool(task.paths.result_pickle.exists())


def _outcome(task: Any, job: Job) -> str:
    """What became of a run, as its task says, or that there is nobody left to say it."""
    from submitit.core.utils import FailedJobError

    outcome, of = "killed", " ".join(job.overrides)
    try:
        if _has_result(task):
            outcome = task.result()
    except FailedJobError:  # it never came to the run: a node without latentbench, say
        outcome = "failed"
    more = "; the same command goes on with it" if outcome == "killed" else ""
    log.log(
        logging.INFO if outcome.startswith("finished") else logging.ERROR,
        "%s (%s): %s%s", outcome, task.paths.stderr, of, more,
    )  # fmt: skip
    return outcome


def work(job: Job) -> str:
    """Run it on the node that Slurm chose."""
    set_up_logging()
    # So that Lightning takes it for an ordinary process, and neither queues it again nor wants a task for each device.
    os.environ["SLURM_JOB_NAME"] = "bash"
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    for announced in (signal.SIGTERM, signal.SIGUSR2):  # by Slurm, of an end that is near
        signal.signal(announced, _stop)
    try:
        return attempt(job)
    except KeyboardInterrupt:
        return "killed"


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt

"""Runs in the queue of a Slurm cluster."""

import contextlib
import io
import logging
import math
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from latentbench.errors import UserError, check_number, check_whole_number
from latentbench.launchers.base import Launcher, SweepProgress, is_finished
from latentbench.running.job import Job, Outcome, log_killed
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.run import run_job

log = logging.getLogger(__name__)

CLUSTERS = ("slurm", "local")
RESULT_POLL_SECONDS = 1.0
QUEUE_POLL_SECONDS = 20.0


class Slurm(Launcher):
    """A task of a job array per run, submitted with submitit. A run that Slurm ends does not stop the others.

    The command waits and counts outcomes; if it ends, the queue continues without it.
    Raises: UserError if a setting is invalid, if submitit or sbatch is missing, or if sbatch rejects the job.
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
        n_gpus = check_whole_number("launcher.gpus_per_node", gpus_per_node, minimum=0)
        if n_gpus:  # a cluster without GPUs may reject a 0
            self.parameters["gpus_per_node"] = n_gpus

    def launch(self, jobs: Sequence[Job]) -> Counter[Outcome]:
        outcomes: Counter[Outcome] = Counter()
        to_do = [job for job in jobs if not is_finished(job)]
        with SweepProgress(jobs) as progress:
            for _ in range(len(jobs) - len(to_do)):
                outcomes["finished before"] += 1
                progress.end_run()
            waiting = dict(zip(self._submit(to_do), to_do, strict=True)) if to_do else {}
            try:
                for task in self._ended(list(waiting)):
                    outcomes[_get_outcome(task, waiting.pop(task))] += 1
                    progress.end_run()
            except KeyboardInterrupt:
                ids = " ".join(sorted({task.job_id.partition("_")[0] for task in waiting}))
                log.warning(
                    "%d runs stay in the queue: latentbench-status, with the same arguments, shows their state; "
                    "`scancel %s` cancels them",
                    len(waiting),
                    ids,
                )
                raise
        return outcomes

    def _submit(self, jobs: Sequence[Job]) -> list[Any]:
        try:
            import submitit
        except ImportError as error:
            raise UserError(f"launcher=slurm needs submitit ({error}): pip install 'latentbench[slurm]'") from error
        for command in ("sbatch", "srun", "squeue"):
            if self.cluster == "slurm" and shutil.which(command) is None:
                raise UserError(
                    f"launcher=slurm: there is no {command} here: run this on a login node of the cluster, "
                    "or try launcher.cluster=local"
                )
        executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        executor.update_parameters(name=f"latentbench-{jobs[0].config.study}", **self.parameters)
        try:
            # submitit prints the error of sbatch, which is part of our message.
            with contextlib.redirect_stderr(io.StringIO()):
                tasks: list[Any] = executor.map_array(work, jobs)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
            raise UserError(f"sbatch rejected the job: {' '.join(str(error).split())}") from error
        log.info("%d runs are in the queue; their messages are in %s", len(jobs), self.folder)
        return tasks

    def _ended(self, tasks: list[Any]) -> Iterator[Any]:
        """Yield each task when it has left a result or is no longer in the queue.

        This asks the queue, not Slurm's accounting, which some clusters lack. Preempted tasks may return to the queue.
        """
        last_poll, not_queued_before = -math.inf, set[Any]()
        while tasks:
            folder = tasks[0].paths.folder
            folder.chmod(folder.stat().st_mode)  # makes a network file system refresh its cache of the folder
            ended = {task for task in tasks if _has_result(task)}
            if time.monotonic() - last_poll > QUEUE_POLL_SECONDS:
                queued = self._queued(tasks)
                not_queued = {task for task in tasks if task.job_id not in queued}
                ended |= (
                    not_queued & not_queued_before
                )  # missing at two polls, since a result may arrive late on a network file system
                last_poll, not_queued_before = time.monotonic(), not_queued
            yield from ended
            tasks = [task for task in tasks if task not in ended]
            time.sleep(RESULT_POLL_SECONDS if tasks else 0)

    def _queued(self, tasks: list[Any]) -> set[str]:
        """Ids of the tasks that wait or run; of all tasks if squeue fails."""
        if self.cluster == "local":
            return {task.job_id for task in tasks if not task.done()}
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        return set(listed.stdout.split()) if listed.returncode == 0 else {task.job_id for task in tasks}


def _has_result(task: Any) -> bool:
    return bool(task.paths.result_pickle.exists())


def _get_outcome(task: Any, job: Job) -> Outcome:
    """The outcome that the task returned; "killed" if it left none."""
    from submitit.core.utils import FailedJobError

    outcome: Outcome = "killed"
    try:
        if _has_result(task):
            outcome = task.result()
    except FailedJobError:  # before the run started, on a node without latentbench for example
        outcome = "failed"
    if outcome == "killed":
        return log_killed(job, task.paths.stderr)
    level = logging.INFO if outcome.startswith("finished") else logging.ERROR
    log.log(level, "%s (%s): %s", outcome, task.paths.stderr, job.command)
    return outcome


def work(job: Job) -> Outcome:
    """In a task: run the job on the node that Slurm chose."""
    set_up_logging()
    # Makes Lightning ignore Slurm: otherwise it would requeue the task and want one task per device.
    os.environ["SLURM_JOB_NAME"] = "bash"
    for announcement in (signal.SIGTERM, signal.SIGUSR2):  # Slurm sends them some time before it kills the task
        signal.signal(announcement, _interrupt)
    try:
        return run_job(job)
    except KeyboardInterrupt:
        return "killed"


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt

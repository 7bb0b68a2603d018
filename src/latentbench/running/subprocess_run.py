"""Runs a job on several devices in a subprocess, from which Lightning starts a further process per device."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from latentbench.running.job import Job, Outcome, log_killed

OUTCOME_SUFFIX = ".outcome"
INTERRUPTED = 130  # exit code after Ctrl-C
# Variables of distributed training, which must not reach the subprocess from a cluster's scheduler.
DISTRIBUTED_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def run_in_subprocess(job: Job, *, devices: Sequence[int] | None) -> Outcome:
    """Run a job in `latentbench.running.subprocess_main`.

    Lightning starts the processes of the other devices with the command line of the first. With the command line of
    `latentbench` each would start the whole sweep again.
    Raises: OSError if the subprocess cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="latentbench-") as folder:
        path = Path(folder) / "run.yaml"
        save_job(path, job, devices=devices)
        environment = {name: value for name, value in os.environ.items() if name not in DISTRIBUTED_VARIABLES}
        # torch warns if every network takes part in a step, for which the strategy is slower than it could be.
        environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        process = subprocess.Popen(
            [sys.executable, "-m", "latentbench.running.subprocess_main", str(path)], env=environment
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # the signal may have reached this process only
            process.wait()
            raise
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if path.with_suffix(OUTCOME_SUFFIX).is_file():
            return cast(Outcome, path.with_suffix(OUTCOME_SUFFIX).read_text())
    return log_killed(job, f"exit code {code}")


def save_job(path: Path, job: Job, *, devices: Sequence[int] | None) -> None:
    """Write a job that trains a run, and the numbers of the devices to use."""
    content = {name: value for name, value in job._asdict().items() if name != "stored"}
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(content | {"devices": devices})), encoding="utf-8")


def load_job(path: Path) -> tuple[Job, list[int] | None]:
    """The job in a file of `save_job`, and the numbers of the devices to use."""
    content: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[assignment]
    devices = content.pop("devices")
    # Created anew, since the keys that a config refers to are counted from its root.
    return Job(**(content | {"config": OmegaConf.create(content["config"])})), devices


def is_main_process() -> bool:
    """Whether this process is the first of its run, which writes the run folder; Lightning starts the others."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def exit_with_parent(parent: int) -> None:
    """Wait until the parent process has ended, then end this process, since nothing would read its result."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

"""Launchers for several machines: a Ray cluster with two simulated GPUs, submitit's local one, and a fake Slurm."""

import errno
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Finished, holder, latentbench, meanwhile, the_one_line, wait_until
from forked_python import forked_python
from latentbench.records.record import FILE_NAME, load
from latentbench.running.job import CHECKPOINT, LOCK
from latentbench.running.locks import is_locked, try_lock

pytestmark = pytest.mark.usefixtures("quick_composition")

SMALL = (
    "backbone.hidden=[16]", "data.batch_size=128", "metric=[fid]", "sampler=[prior]", "logger=none",
    "checkpoint_seconds=0",
)  # fmt: skip
LOCAL = ("launcher=slurm", "launcher.cluster=local", "launcher.gpus_per_node=0")
QUEUE = ("launcher=slurm", "launcher.partition=long", "+launcher.sbatch.account=mine", "launcher.array_parallelism=2")

SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[1])
pathlib.Path("{folder}/script").write_text(script.read_text())
last = re.search(r"--array=0-(\\d+)", script.read_text())
for task in range(int(last[1]) + 1 if last else 1):
    of_slurm = {{"SLURM_JOB_ID": str(70 + task), "SLURM_JOB_NAME": "any", "SLURM_NTASKS": "1", "SLURM_PROCID": "0",
                "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}}
    if last:
        of_slurm |= {{"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": str(task)}}
    entry = pathlib.Path("{folder}/queue", f"70_{{task}}" if last else "70")
    entry.touch()
    command = ["sh", "-c", 'bash "$0"; rm "$1"', script, entry]
    with open("{folder}/log", "a") as log:
        subprocess.Popen(command, env=os.environ | of_slurm, stdout=log, stderr=log, start_new_session=True)
print("Submitted batch job 70")
"""
SRUN = """#!{python}
import os, sys
command = sys.argv[sys.argv.index("-u") - 1:]
os.execvp(command[0], command)
"""
SQUEUE = """#!/bin/sh
ls "{folder}/queue"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster with two simulated GPUs."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'latentbench[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # a token would lie in the home folder
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # of a machine that others use as well
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        made = Cluster(True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
        yield made.address
        made.shutdown()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with fake Slurm commands, which start jobs at once."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'latentbench[slurm]'")
    monkeypatch.setattr("latentbench.launchers.slurm.QUEUE_POLL_SECONDS", 1.0)
    monkeypatch.setattr("latentbench.launchers.slurm.RESULT_POLL_SECONDS", 0.2)
    folder = tmp_path / "slurm"
    (folder / "queue").mkdir(parents=True)
    for name, content in (("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE)):
        (folder / name).write_text(content.format(python=sys.executable, folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with forked_python(folder, "submitit.core._submit") as python:
        monkeypatch.setattr(sys, "executable", str(python))
        yield folder


@pytest.fixture
def where(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The overrides that choose the launcher of a test."""
    if request.param == "ray":
        return "launcher=ray", f"launcher.address={request.getfixturevalue('cluster')}"
    request.getfixturevalue("slurm")
    return {"submitit": LOCAL, "slurm": QUEUE}[request.param]


def sweep(root: Path, *more: str, seeds: str = "0,1", epochs: int = 30) -> Finished:
    """A run per seed."""
    return latentbench("-m", f"seed={seeds}", *SMALL, f"trainer.max_epochs={epochs}", f"output_dir={root}", *more)


def runs(root: Path) -> list[Path]:
    """Folders of runs."""
    return sorted(path.parent for path in root.glob(f"adhoc/*/{LOCK}"))


def begun(root: Path) -> list[Path]:
    """Runs with a checkpoint."""
    return [run for run in runs(root) if (run / CHECKPOINT).is_file()]


@pytest.mark.parametrize(
    ("where", "how"),
    [("ray", signal.SIGKILL), ("submitit", signal.SIGKILL), ("slurm", signal.SIGUSR2)],  # its time limit
    indirect=["where"],
)
def test_a_killed_run_does_not_stop_the_others_and_the_same_command_resumes_it(
    where: tuple[str, ...], how: signal.Signals, tmp_path: Path
) -> None:
    meanwhile(lambda: begun(tmp_path), lambda found: os.kill(holder(found[0] / LOCK), how))
    first = sweep(tmp_path, *where)
    assert "runs: 1 killed, 1 finished" in first.err or "runs: 1 finished, 1 killed" in first.err, first.err
    assert "the same command resumes it" in first.err
    assert first.code == 1
    killed, other = sorted(runs(tmp_path), key=lambda run: (run / FILE_NAME).exists())
    assert load(other / FILE_NAME).status == "finished"
    assert not (killed / FILE_NAME).exists(), "it has not failed, so that it has no record"
    assert (killed / CHECKPOINT).is_file()
    again = sweep(tmp_path, *where)
    assert again.code == 0, again.err
    assert "runs: 1 finished before, 1 finished" in again.err
    assert load(killed / FILE_NAME).status == "finished"
    if where[0] == "launcher=ray":
        assert "run 1 of 2, on node" in first.err
        assert {0, 1} == {gpu for gpu in range(9) if f"GPU {gpu}: " in first.err}, "each run has a GPU of its own"
    if where == QUEUE:
        script = (tmp_path / "slurm" / "script").read_text()
        for line in ("account=mine", "partition=long", "gpus-per-node=1", "job-name=latentbench-adhoc", "mem=8GB"):
            assert f"#SBATCH --{line}" in script.replace("'", "")
        assert "#SBATCH --array" not in script, "finished runs are not queued again"


@pytest.mark.parametrize("where", ["ray"], indirect=True)
def test_ctrl_c_cancels_the_tasks_of_ray(where: tuple[str, ...], tmp_path: Path) -> None:
    meanwhile(lambda: begun(tmp_path), lambda _: os.kill(os.getpid(), signal.SIGINT))
    stopped = sweep(tmp_path, *where, seeds="0", epochs=3000)
    assert stopped.code == 130
    assert "the same command resumes" in stopped.err
    (run,) = runs(tmp_path)
    assert not is_locked(run / LOCK)
    assert not (run / FILE_NAME).exists()


@pytest.mark.parametrize("where", ["slurm"], indirect=True)
def test_ctrl_c_leaves_the_tasks_of_slurm_in_the_queue(where: tuple[str, ...], tmp_path: Path) -> None:
    meanwhile(lambda: runs(tmp_path), lambda _: os.kill(os.getpid(), signal.SIGINT))
    stopped = sweep(tmp_path, *where)
    assert stopped.code == 130
    assert "the same command resumes" in stopped.err
    assert "2 runs stay in the queue" in stopped.err
    assert "scancel 70" in stopped.err
    wait_until(lambda: not any((tmp_path / "slurm" / "queue").iterdir()))
    assert [load(run / FILE_NAME).status for run in runs(tmp_path)] == ["finished"] * 2


def test_what_ray_cannot_provide_is_reported_at_once(cluster: str, tmp_path: Path) -> None:
    there = f"launcher.address={cluster}"
    for wrong, says in {
        "launcher.gpus=3": "no machine of the Ray cluster has 1 processors and 3 GPUs for a run (they have 2 and 2)",
        "launcher.cpus=5": "no machine of the Ray cluster has 5 processors and 1 GPUs for a run (they have 2 and 2)",
        "launcher.gpus=1.5": "launcher.gpus=1.5: give a whole number, or a fraction below 1",
        "launcher.gpus=-1": "launcher.gpus=-1: give a number at least 0",
        "launcher.address=127.0.0.1:9": "there is no Ray cluster ([Errno 111] Connection refused): start one with",
        "launcher.address=nonsense": "launcher.address=nonsense: there is no Ray cluster (",
    }.items():
        finished = latentbench("launcher=ray", there, wrong, f"output_dir={tmp_path}", "logger=none")
        assert says in the_one_line(finished)
        assert finished.code == 2


def test_invalid_settings_of_slurm_are_reported_at_once(slurm: Path, tmp_path: Path) -> None:
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: long' >&2\nexit 1\n")
    for wrong, says in {
        "launcher.partition=long": "sbatch rejected the job: sbatch: error: invalid partition specified: long",
        "launcher.cluster=pbs": "launcher.cluster=pbs: choose one of slurm, local",
        "launcher.minutes=0": "launcher.minutes=0: give a whole number, 1 or more",
    }.items():
        finished = latentbench("launcher=slurm", wrong, f"output_dir={tmp_path}", "logger=none")
        assert says in the_one_line(finished)
        assert finished.code == 2


def test_a_machine_without_slurm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'latentbench[slurm]'")
    monkeypatch.setenv("PATH", str(tmp_path))
    line = the_one_line(latentbench("launcher=slurm", f"output_dir={tmp_path}", "logger=none"))
    assert line.startswith("latentbench: launcher=slurm: there is no sbatch here")


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named(
    launcher: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    finished = latentbench(f"launcher={launcher}", f"output_dir={tmp_path}", "logger=none")
    assert f"pip install 'latentbench[{launcher}]'" in the_one_line(finished)
    assert finished.code == 2


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_stops_no_run(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    for _ in range(2):
        with try_lock(tmp_path / "lock") as acquired:
            assert acquired
    assert f"cannot be locked ({os.strerror(code)})" in caplog.text
    assert not is_locked(tmp_path / "lock")
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}, "no marker that would outlive its process"

"""An interrupted run ends with the numbers of an uninterrupted one; no two processes execute one run."""

import fcntl
import functools
import os
import pwd
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch

from commands import Started, holder, latentbench, meanwhile, metrics_of_runs, start_sweep, wait_until
from latentbench.cli import status
from latentbench.data.base import Batches
from latentbench.errors import UserError
from latentbench.launchers.local import Local
from latentbench.records.provenance import code_digest
from latentbench.records.record import load
from latentbench.running import checkpoints
from latentbench.running.job import CHECKPOINT
from latentbench.running.locks import is_locked, leased_devices, try_lock

pytestmark = pytest.mark.usefixtures("quick_composition")

SMALL = (
    "backbone.hidden=[16]", "data.batch_size=128", "logger=none", "metric=[fid,rate]", "sampler=[prior]",
    "checkpoint_seconds=0",
)  # fmt: skip
EPOCHS = 4
# 3 batches an epoch, so that wgan_gp is cut off between two steps of its generator.
BRIEF = (f"trainer.max_epochs={EPOCHS}", "data.batch_size=512")
KILLS = int(os.environ.get("LATENTBENCH_KILLS", "4"))  # a few seconds each
# Critics with their own optimizers, rejection sampling, batch counters, buffers, annealing.
METHODS = ("vae", "factor_vae", "svae", "vq_vae", "wgan_gp", "capacity_vae", "rae_sn", "flow_prior_vae")


def folder(root: Path) -> Path:
    """The folder of the only run."""
    (found,) = (root / "adhoc").iterdir()
    return found


HOLDER = """
import sys, time
from pathlib import Path
from latentbench.running.locks import try_lock

with try_lock(Path(sys.argv[1])) as acquired:
    print(acquired, flush=True)
    time.sleep(60)
"""


def lock_holder(lock: Path) -> subprocess.Popen[str]:
    """Another process, which holds a lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def trained(method: str, root: Path, *more: str) -> dict[str, Any]:
    """Metrics and weights of a finished run."""
    finished = latentbench(f"method={method}", *SMALL, *BRIEF, f"output_dir={root}", *more)
    assert finished.code == 0, finished.err
    of_run = folder(root)
    return {"metrics": load(of_run / "record.json").metrics, "weights": (of_run / "model.safetensors").read_bytes()}


@pytest.fixture(scope="module")
def whole_vae(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Metrics and weights of a VAE that was not interrupted."""
    return trained("vae", tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_cut_off_ends_as_one_that_never_stopped(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(method, tmp_path / "whole")
    save = checkpoints.PeriodicCheckpoint.on_train_epoch_end

    def cut(self: Any, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        save(self, trainer, model)
        if trainer.current_epoch in (0, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.PeriodicCheckpoint, "on_train_epoch_end", cut)
        for _ in range(2):
            torch.manual_seed(random.randrange(2**31))
            code = latentbench(f"method={method}", *SMALL, *BRIEF, f"output_dir={tmp_path / 'cut'}").code
            assert code == 130
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the next Ctrl-C counts as well"
            assert (folder(tmp_path / "cut") / CHECKPOINT).is_file()
    load_state = checkpoints.PeriodicCheckpoint.load_state_dict
    monkeypatch.setattr(
        checkpoints.PeriodicCheckpoint,
        "load_state_dict",
        lambda self, state: load_state(self, state | {"seconds": state["seconds"] + 1000}),
    )
    assert trained(method, tmp_path / "cut") == whole
    assert load(folder(tmp_path / "cut") / "record.json").seconds["fit"] > 1000, "the seconds before count, too"


def test_a_training_does_not_go_on_on_another_kind_of_device(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained("vae", tmp_path)
    code = code_digest()
    assert checkpoints.resumable_checkpoint(folder(tmp_path), code=code, device="cpu") == folder(tmp_path) / CHECKPOINT
    assert checkpoints.resumable_checkpoint(folder(tmp_path), code=code, device="cuda") is None
    assert "is of a training on cpu, not cuda: the run starts from the beginning" in caplog.text


def test_a_truncated_checkpoint_is_reported_and_the_run_starts_from_the_beginning(
    whole_vae: dict[str, Any], tmp_path: Path
) -> None:
    trained("vae", tmp_path / "cut")
    of_run = folder(tmp_path / "cut")
    content = (of_run / CHECKPOINT).read_bytes()
    (of_run / CHECKPOINT).write_bytes(content[: len(content) // 2])
    (of_run / "record.json").unlink()
    finished = latentbench("method=vae", *SMALL, *BRIEF, f"output_dir={tmp_path / 'cut'}")
    assert finished.code == 0
    assert "last.ckpt cannot be read" in finished.err
    assert "starts from the beginning" in finished.err
    assert load(of_run / "record.json").metrics == whole_vae["metrics"]


def test_a_checkpoint_of_other_code_is_not_used(
    whole_vae: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("latentbench.running.train.code_digest", lambda: "another")
        trained("vae", tmp_path / "cut")
    (folder(tmp_path / "cut") / "record.json").unlink()
    epochs = []
    train = Batches.__iter__
    monkeypatch.setattr(Batches, "__iter__", lambda self: epochs.append(1) or train(self))
    assert trained("vae", tmp_path / "cut") == whole_vae
    assert len(epochs) >= EPOCHS


def test_every_change_of_the_code_is_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.records.provenance.PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    digests = set()
    for text in ("loss = 1", "loss = 2", "loss = 1"):
        (tmp_path / "models" / "autoencoder.py").write_text(text)
        digests.add(code_digest.__wrapped__())
    assert len(digests) == 2
    monkeypatch.setattr("latentbench.records.provenance.version", lambda package: "0.0")
    assert code_digest.__wrapped__() not in digests


def test_the_record_of_a_failure_is_removed_when_the_run_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("method=vae", *SMALL, "trainer.max_epochs=1", f"output_dir={tmp_path}")
    with monkeypatch.context() as patch:
        patch.setattr("latentbench.running.run.fit", lambda *_, **__: 1 / 0)
        assert latentbench(*command).code == 1
    assert latentbench(*command, program=status.main).out.startswith("1 failed, of 1 runs")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latentbench.running.run.fit", interrupted)
    assert latentbench(*command).code == 130
    assert latentbench(*command, program=status.main).out.startswith("1 not started, of 1 runs")


def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """latentbench-status holds a run's lock while it looks at it."""
    with (tmp_path / "lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        release = threading.Timer(0.3, fcntl.flock, (other, fcntl.LOCK_UN))
        release.start()
        start = time.monotonic()
        with try_lock(tmp_path / "lock", timeout=60.0) as acquired:
            assert acquired
            assert 0.2 < time.monotonic() - start < 30
        release.join()


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    other = lock_holder(tmp_path / "lock")
    with try_lock(tmp_path / "lock") as acquired:
        assert not acquired
    other.kill()
    other.communicate()
    assert (tmp_path / "lock").exists(), "a file that is left behind is no lock"
    with try_lock(tmp_path / "lock") as acquired:
        assert acquired


def test_a_run_that_is_locked_by_another_process_is_not_run(tmp_path: Path) -> None:
    whole = trained("vae", tmp_path)
    of_run = folder(tmp_path)
    (of_run / "record.json").unlink()
    other = lock_holder(of_run / "lock")
    assert is_locked(of_run / "lock")
    finished = latentbench("method=vae", *SMALL, *BRIEF, f"output_dir={tmp_path}")
    assert (finished.code, "is locked by another process" in finished.err) == (0, True)
    assert not (of_run / "record.json").exists()
    other.kill()
    other.communicate()
    assert not is_locked(of_run / "lock"), "the operating system releases it"
    assert trained("vae", tmp_path) == whole


def named(total: int) -> dict[int, str]:
    """Devices by number."""
    return {number: f"GPU-{number}" for number in range(total)}


def test_each_device_is_leased_up_to_its_limit_and_runs_spread_evenly(tmp_path: Path) -> None:
    leases = [leased_devices(named(2), 1, runs_per_device=2, folder=tmp_path) for _ in range(4)]
    assert [lease.__enter__() for lease in leases] == [[0], [1], [0], [1]]
    leases[1].__exit__(None, None, None)
    with leased_devices(named(2), 1, runs_per_device=2, folder=tmp_path) as devices:
        assert devices == [1]


def test_a_device_is_the_same_to_processes_that_number_it_differently(tmp_path: Path) -> None:
    with leased_devices({0: "a", 1: "b"}, 1, runs_per_device=1, folder=tmp_path) as one:
        with leased_devices({0: "b", 1: "a"}, 1, runs_per_device=1, folder=tmp_path) as other:
            assert (one, other) == ([0], [0])
        with leased_devices({0: "c"}, 1, runs_per_device=1, folder=tmp_path) as third:
            assert third == [0], "it is unused: only its number is that of another device"


def test_runs_of_others_count_whatever_slots_they_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (leased_devices(named(1), 1, runs_per_device=2, folder=tmp_path) for _ in range(2))
    assert (first.__enter__(), second.__enter__()) == ([0], [0])
    first.__exit__(None, None, None)

    def wait(seconds: float) -> None:
        raise TimeoutError

    monkeypatch.setattr("latentbench.running.locks.time.sleep", wait)
    with pytest.raises(TimeoutError), leased_devices(named(1), 1, runs_per_device=1, folder=tmp_path):
        pass
    with leased_devices(named(1), 1, runs_per_device=2, folder=tmp_path) as devices:
        assert devices == [0]


def test_locks_of_devices_need_no_user_name_and_say_where_they_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pwd, "getpwuid", mock.Mock(side_effect=KeyError))
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with leased_devices(named(1), 1, runs_per_device=1) as devices:
        assert devices == [0]
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with (
        pytest.raises(UserError, match=r"file/latentbench-.* cannot be written .*: set TMPDIR"),
        leased_devices(named(1), 1, runs_per_device=1),
    ):
        pass


def test_a_lock_is_looked_at_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, opened = tmp_path / "lock", mock.Mock(side_effect=open)
    assert not is_locked(lock)
    assert not lock.exists()
    with try_lock(lock):
        monkeypatch.setattr(Path, "open", lambda path, mode: opened(path, mode))
        assert is_locked(lock)
    assert not is_locked(lock)
    assert [call.args for call in opened.call_args_list] == [(lock, "rb")] * 2


def test_several_devices_are_leased_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(seconds: float) -> None:
        raise TimeoutError

    monkeypatch.setattr("latentbench.running.locks.time.sleep", wait)
    with leased_devices(named(3), 1, runs_per_device=1, folder=tmp_path) as one:
        with pytest.raises(TimeoutError), leased_devices(named(3), 3, runs_per_device=1, folder=tmp_path):
            pass
        with leased_devices(named(3), 2, runs_per_device=1, folder=tmp_path) as two:
            assert (one, two) == ([0], [1, 2]), "a run that waits holds no device"
        with leased_devices(named(3), 3, runs_per_device=2, folder=tmp_path) as three:
            assert three == [1, 2, 0], "unused devices first"


def test_none_is_leased_where_there_are_fewer_devices_than_needed(tmp_path: Path) -> None:
    for total, n in ((0, 1), (2, 3), (2, 0)):
        with leased_devices(named(total), n, runs_per_device=1, folder=tmp_path) as devices:
            assert devices is None


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    with try_lock(tmp_path / "lock") as first, try_lock(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    assert not is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "no such lock")


def has_begun(sweep: Started, root: Path) -> bool:
    """Whether a run is in progress, or all were done before."""
    return not sweep.is_running() or any(map(is_locked, root.glob("adhoc/*/lock")))


def test_a_sweep_killed_at_random_moments_ends_with_the_numbers_of_one_that_was_not(
    tmp_path: Path, metrics_of_a_whole_sweep: dict[str, dict[str, float]]
) -> None:
    moments = random.Random(0)
    for kill in range(KILLS):
        launcher = ("launcher=serial",) if kill % 2 else ("launcher=local", "launcher.n_jobs=2")
        with start_sweep(tmp_path, *launcher) as sweep:
            wait_until(functools.partial(has_begun, sweep, tmp_path))
            time.sleep(moments.uniform(0, 1))
            sweep.kill()
    with start_sweep(tmp_path, "launcher=local", "launcher.n_jobs=2") as last:
        assert last.wait() == 0, last.err
    assert metrics_of_runs(tmp_path) == metrics_of_a_whole_sweep, "which one process has worked through"


def test_a_killed_worker_loses_only_its_run(tmp_path: Path) -> None:
    begun = meanwhile(
        lambda: list(tmp_path.glob("adhoc/*/last.ckpt")),
        lambda found: os.kill(holder(found[0].with_name("lock")), signal.SIGKILL),
    )
    sweep = ("-m", "method=vae", "seed=0,1", *SMALL, "trainer.max_epochs=30", "launcher=local", "launcher.n_jobs=1")
    finished = latentbench(*sweep, f"output_dir={tmp_path}")
    begun.join()
    assert finished.code == 1
    assert "killed (exit code -9): " in finished.err
    assert "runs: 1 killed, 1 finished" in finished.err
    assert len(metrics_of_runs(tmp_path)) == 1


def test_workers_end_with_the_command_that_started_them(tmp_path: Path) -> None:
    endless = ("launcher=local", "launcher.n_jobs=1", "trainer.max_epochs=3000", "method=vae", "seed=0")
    with start_sweep(tmp_path, *endless) as sweep:
        wait_until(lambda: list(tmp_path.glob("adhoc/*/last.ckpt")))
        (lock,) = tmp_path.glob("adhoc/*/lock")
        assert holder(lock) != sweep.pid
        sweep.send(signal.SIGTERM)
        assert sweep.wait() == -signal.SIGTERM
    wait_until(lambda: not is_locked(lock))


def test_a_worker_that_dies_between_two_runs_loses_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assign = Local._assign
    given = []

    def late(self: Local, busy: Any, worker: Any, *more: Any) -> None:
        given.append(worker)
        if len(given) == 2:
            worker[1].kill()
            worker[1].join()
        assign(self, busy, worker, *more)

    monkeypatch.setattr(Local, "_assign", late)
    several = ("-m", "method=vae", "seed=0,1,2", *SMALL, "trainer.max_epochs=1", "launcher=local", "launcher.n_jobs=1")
    finished = latentbench(*several, f"output_dir={tmp_path}")
    assert finished.code == 1
    assert "runs: 2 finished, 1 killed" in finished.err
    assert "Traceback" not in finished.err

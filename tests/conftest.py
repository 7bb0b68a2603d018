"""Every test starts from the same random numbers, on one thread, far from the accounts and caches of the user."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb.sdk.lib.service.service_process import ServiceProcess

from commands import SWEEP_OF_SMALL_RUNS, composing_quickly, latentbench, metrics_of_runs
from latentbench.contracts.fixtures import nothing_in_the_users_cache, same_random_numbers
from latentbench.launchers import auto
from latentbench.loggers import weights_and_biases
from wandb_server import WandbServer

__all__ = ["nothing_in_the_users_cache", "same_random_numbers"]

os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # as several tests run at a time
# What a shell starts in the background ignores Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def sweeps_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What launcher=auto, the default, does where there is one processor, even where there is a GPU."""
    monkeypatch.setattr(auto, "gpu_places", lambda job: 0)


@pytest.fixture
def quick_composition() -> Iterator[None]:
    """Runs are composed without Hydra."""
    with composing_quickly():
        yield


@pytest.fixture(scope="session")
def metrics_of_a_whole_sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What the runs of `start_sweep` give when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("whole_sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert latentbench(*SWEEP_OF_SMALL_RUNS, f"output_dir={folder}").code == 0
    metrics = metrics_of_runs(folder)
    assert len(metrics) == 6
    return metrics


def _wait_or_kill(self: ServiceProcess) -> int:
    """Wait for W&B's process to end; it seldom misses that it is told to, and would never end."""
    try:
        return self._process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        self._process.kill()
        return self._process.wait()


@pytest.fixture
def no_wandb_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """W&B freshly started, without an account, settings or a server; in an empty folder."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ServiceProcess, "join", _wait_or_kill)
    # Not wandb.teardown(), which leaves the program with the exit code of a process that was killed. Pytest takes that
    # for an error of one test, and undoes none of its fixtures: later tests would share its folder.
    weights_and_biases._end_service()
    weights_and_biases._can_log_in.cache_clear()
    yield
    weights_and_biases._end_service()
    weights_and_biases._can_log_in.cache_clear()


@pytest.fixture
def server(no_wandb_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A W&B server and a key for it."""
    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    yield server
    server.close()

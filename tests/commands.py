"""Commands run in this process, and in others."""

import contextlib
import copy
import dataclasses
import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from latentbench.cli import app
from latentbench.configuration.catalogue import GROUPS
from latentbench.configuration.compose import compose_started
from latentbench.configuration.overrides import check_composed
from latentbench.contracts import images
from latentbench.contracts.options import composed
from latentbench.launchers.local import forking_context
from latentbench.records.record import load
from latentbench.running import run


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a command left on the screen."""

    code: int
    out: str
    err: str


class Screen(io.StringIO):
    """A stream that may say that it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def latentbench(*arguments: str, program: Callable[[], Any] = app.main, terminal: bool = False) -> Finished:
    """Run a command in this process, as its entry point does; what it changes in the process is put back."""
    out, err, code = Screen(terminal), Screen(terminal), None
    logs = [logging.getLogger(name) for name in (None, "latentbench", "pytorch_lightning", "hydra")]
    before = [(log, log.level, log.handlers[:]) for log in logs]
    GlobalHydra.instance().clear()
    with (
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", ["latentbench", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        try:
            code = program()
        except SystemExit as leaving:
            code = leaving.code
        finally:
            GlobalHydra.instance().clear()
            for log, level, handlers in before:
                log.setLevel(level)
                log.handlers[:] = handlers
    assert code is None or isinstance(code, int), code
    return Finished(code or 0, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def composing_quickly() -> Iterator[None]:
    """Runs of commands are composed by `composed`, in a sixth of Hydra's time. For tests of what comes after that."""
    with mock.patch("latentbench.cli.jobs.compose_started", compose_quickly):
        yield


def compose_quickly(overrides: Sequence[str], *, further_keys: Sequence[str] = ()) -> DictConfig:
    """What `compose_started` composes; of Hydra's own part what `compose_jobs` reads."""
    if {"'", "\\", "{"} & set("".join(overrides)):  # which Hydra's parser reads
        return compose_started(overrides, further_keys=further_keys)
    started = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # `composed` may start Hydra itself, which is possible once at a time
    config = copy.deepcopy(composed(*overrides))
    hydra = composed(*(word for word in overrides if word.startswith("sweep="))).hydra
    chosen = composed(*(word for word in overrides if word.partition("=")[0] in GROUPS))
    for key in (word.partition("=")[0] for word in overrides if word[0].isalpha()):
        of, _, name = key.rpartition(".")
        assert key in GROUPS or name in (OmegaConf.select(chosen, of) if of else chosen), f"there is no {key}"
    choices = config.hydra.runtime.choices
    OmegaConf.set_struct(config, False)
    config.hydra = {
        "mode": hydra.mode,
        "sweeper": {"params": hydra.sweeper.params},
        "runtime": {"choices": choices},
        "overrides": {"task": list(overrides)},
    }
    OmegaConf.set_struct(config, True)
    GlobalHydra.instance().hydra = started
    check_composed(config, further_keys=further_keys)
    return config


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def the_one_line(finished: Finished) -> str:
    """The line a refused command leaves on standard error; what a download says of itself may stand above it."""
    lines = [line for line in finished.err.splitlines() if line.strip() and not line.startswith("Downloading ")]
    assert len(lines) == 1, finished.err
    assert finished.out == ""
    assert "Traceback" not in finished.err
    return lines[0]


SWEEP_OF_SMALL_RUNS = (
    "-m", "method=vae,ae,gan", "seed=0,1", "trainer.max_epochs=8", "backbone.hidden=[16]", "data.batch_size=128",
    "logger=none", "metric=[fid,rate]", "sampler=[prior]", "checkpoint_seconds=0",
)  # fmt: skip


def forking() -> ForkServerContext:
    """As `forking_context`; the server has imported what tests need, too."""
    context = forking_context()
    context.set_forkserver_preload([run.__name__, images.__name__])
    return context


class Started:
    """A command in a process, session and process group of its own, which can be killed as a whole.

    It is forked from a server that has imported torch already: a new interpreter would take seconds to do so. Used in
    a `with`, nothing of it outlives the block.
    """

    def __init__(self, *arguments: str) -> None:
        self._screen = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        settings = (arguments, self._screen.name, dict(os.environ), os.getcwd())
        self._process: BaseProcess = forking().Process(target=_command, args=settings)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def err(self) -> str:
        """What it and its processes have written to standard error."""
        return Path(self._screen.name).read_text()

    def wait(self) -> int:
        """The exit code, once it has ended; of a killed one, the signal's number below 0."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def is_running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Send it a signal, but not its process group."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and its process group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._process.join()
        self._screen.close()


def _command(arguments: tuple[str, ...], screen: str, environment: dict[str, str], folder: str) -> None:
    """In a process of its own: what `latentbench` does."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open(screen, "w") as written:
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
    sys.argv = ["latentbench", *arguments]
    # The workers of launcher=local are forked from the server of the tests.
    forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    with composing_quickly():
        app.main()


def start_sweep(root: Path, *more: str) -> Started:
    """Start a sweep."""
    return Started(*SWEEP_OF_SMALL_RUNS, f"output_dir={root}", *more)


def metrics_of_runs(root: Path) -> dict[str, Any]:
    """Metrics of every run."""
    return {path.parent.name: load(path).metrics for path in (root / "adhoc").glob("*/record.json")}


PATIENCE = 120.0  # seconds


def wait_until(condition: Callable[[], Any]) -> Any:
    """What the condition returns once that is true. Raises: TimeoutError."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.05)
    return found


def meanwhile(wanted: Callable[[], Any], then: Callable[[Any], None]) -> threading.Thread:
    """In a thread, beside the command of the test: wait for a condition, then act on it."""
    thread = threading.Thread(target=lambda: then(wait_until(wanted)), daemon=True)
    thread.start()
    return thread


def holder(lock: Path) -> int:
    """The process that has the file open."""
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if path.readlink() == lock:
                return int(path.parts[2])
    raise LookupError(lock)

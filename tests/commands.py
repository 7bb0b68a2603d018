"""Commands run in this process, and sweeps started in another."""

import contextlib
import dataclasses
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from latentbench.cli import app
from latentbench.records.record import load


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
    "-m", "method=vae,ae,gan", "seed=0,1", "trainer.max_epochs=8", "backbone.hidden=[16]", "logger=none",
    "metric=[fid,rate]", "sampler=[prior]", "checkpoint_seconds=0",
)  # fmt: skip


def start_sweep(root: Path, *more: str) -> subprocess.Popen[str]:
    """Start a sweep in a new process group, which can be killed as a whole."""
    command = [sys.executable, "-m", "latentbench", *SWEEP_OF_SMALL_RUNS, f"output_dir={root}", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def metrics_of_runs(root: Path) -> dict[str, Any]:
    """Metrics of every run."""
    return {path.parent.name: load(path).metrics for path in (root / "adhoc").glob("*/record.json")}

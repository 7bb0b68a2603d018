"""A `python` that runs modules in forked processes, which need not import torch again."""

import json
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from commands import forking

PYTHON = """#!{python} -IS
import json, os, pathlib, sys, time
if not {modules} & set(sys.argv):
    os.execv("{python}", ["{python}", *sys.argv[1:]])
task = pathlib.Path("{folder}/tasks", str(os.getpid()))
task.with_suffix(".part").write_text(json.dumps([sys.argv, os.getpid(), os.getcwd(), dict(os.environ)]))
task.with_suffix(".part").rename(task.with_suffix(".new"))
while not task.with_suffix(".ended").exists():
    time.sleep(0.05)
code = int(task.with_suffix(".ended").read_text())
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextmanager
def forked_python(folder: Path, *modules: str) -> Iterator[Path]:
    """A program `python` in a folder: of `python -m MODULE`, a fork of the tests' server runs the modules named.

    The program's exit code is that of the fork; what ends the one, such as a signal, ends the other.
    """
    python = folder / "python"
    (folder / "tasks").mkdir(parents=True)
    python.write_text(PYTHON.format(python=sys.executable, modules=set(modules), folder=folder))
    python.chmod(0o755)
    stop = threading.Event()
    thread = threading.Thread(target=_fork_tasks, args=(folder, stop))
    thread.start()
    yield python
    stop.set()
    thread.join()


def _fork_tasks(folder: Path, stop: threading.Event) -> None:
    """Run what is handed to `python`, until the tests stop."""
    running: dict[BaseProcess, Path] = {}
    while not stop.wait(0.05):
        for task in folder.glob("tasks/*.new"):
            process = forking().Process(target=_run_module, args=json.loads(task.read_text()), daemon=True)
            task.unlink()
            process.start()
            running[process] = task
        for process, task in list(running.items()):
            if not process.is_alive():
                del running[process]
                task.with_suffix(".ended").write_text(str(process.exitcode))
            elif not Path("/proc", task.stem).exists():
                process.kill()
    for process, task in running.items():
        process.kill()
        task.with_suffix(".ended").write_text(str(-signal.SIGKILL))  # so that the program does not outlive its test


def _run_module(arguments: list[str], program: int, folder: str, environment: dict[str, str]) -> None:
    """In a process of its own: what a `python -m MODULE ...` with that process number would do itself."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number in (1, 2):
        with open(f"/proc/{program}/fd/{number}", "a") as written:
            os.dup2(written.fileno(), number)
    sys.executable = arguments[0]
    os.getppid = lambda: int(Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[1])
    at = arguments.index("-m") + 1
    sys.argv = arguments[at:]
    runpy.run_module(arguments[at], run_name="__main__", alter_sys=True)

"""A run in a plain process of its own, which Lightning may start again for each of several devices."""

import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

OUTCOME = ".outcome"
OF_DISTRIBUTED = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def in_own_process(given: Any, *, words: str) -> str:
    """Have `latentbench.running.worker` carry out what is given, and say what became of it.

    words: of the run, for messages. Lightning starts the other processes by the command line of the first: that of
    Hydra's app would begin the whole sweep once more.
    """
    with tempfile.TemporaryDirectory(prefix="latentbench-") as folder:
        path = Path(folder) / "run"
        path.write_bytes(pickle.dumps(given))
        surroundings = {name: value for name, value in os.environ.items() if name not in OF_DISTRIBUTED}
        surroundings.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch warns where every network takes part in a step
        process = subprocess.Popen([sys.executable, "-m", "latentbench.running.worker", str(path)], env=surroundings)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # it may have been meant for this process alone
            process.wait()
            raise
        if code == 130:
            raise KeyboardInterrupt
        if path.with_suffix(OUTCOME).is_file():
            return path.with_suffix(OUTCOME).read_text()
    log.error("killed (exit code %s): %s; the same command goes on with it", code, words)
    return "killed"


def is_first() -> bool:
    """Whether this process is the run's first, which keeps its folder, and not one that Lightning started beside it."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def end_with(parent: int) -> None:
    """End this process when the one that started it has ended: nobody waits for its result."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

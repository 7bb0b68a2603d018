"""Where a run's numbers come from: code, packages, hardware, time."""

import contextlib
import functools
import hashlib
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentbench.configuration.catalogue import CONF_DIR, PACKAGE


def environment(*, cpu_threads: int, matrix_library: str, gpu: str | None) -> dict[str, Any]:
    """The code, packages and hardware of a run, and the peak memory of the process so far.

    matrix_library: the library of matrix products on processors, and its code path
    gpu: the name of the GPU
    """
    packages = (
        "latentbench",
        "torch",
        "pytorch-lightning",
        "torchmetrics",
        "scikit-learn",
        "numpy",
        "hydra-core",
    )
    return {
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "platform": platform.platform(),
        "processor": processor(),
        "matrix_library": matrix_library,
        "cpu_threads": cpu_threads,
        "gpu": gpu,
        # Linux counts in kilobytes, macOS in bytes.
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**20 if sys.platform == "darwin" else 2**10),
    }


@functools.cache
def processor() -> str:
    """The name of the processor. Another one may round differently."""
    with contextlib.suppress(OSError):  # there is no such file on macOS
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@functools.cache  # a process keeps the code that it started with
def git_commit() -> str | None:
    """The commit of the checkout, with `-dirty` for uncommitted changes; None for an installed wheel."""
    checkout = CONF_DIR.parent
    if not (checkout / ".git").exists():  # an installed package may lie inside another repository
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache  # a process keeps the code that it started with
def code_digest() -> str:
    """SHA-256 of latentbench's code and the versions of torch and Lightning: what can change a number."""
    digest = hashlib.sha256(f"{version('torch')} {version('pytorch-lightning')}".encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Clock:
    """Measures the seconds that each phase of a run takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, phase: str, *, before: float = 0.0) -> None:
        """End a phase, which began when the last one ended. before: its seconds in a process that was interrupted"""
        now = time.monotonic()
        self.seconds[phase] = round(before + now - self.last, 3)
        self.last = now

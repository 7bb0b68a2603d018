"""What a run is made with: code, packages, hardware, time."""

import functools
import hashlib
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

import torch

from latentbench.configuration.catalogue import CONF_DIR, PACKAGE


def environment() -> dict[str, Any]:
    """Code, packages and hardware a run was made with, and the process's peak memory so far."""
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
        "cpu_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        # Linux counts kilobytes, macOS bytes.
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**20 if sys.platform == "darwin" else 2**10),
    }


def git_commit() -> str | None:
    """The commit of the checkout the code is in, with `-dirty` for uncommitted changes; None for an installed wheel."""
    checkout = CONF_DIR.parent
    if not (checkout / ".git").exists():  # an installed package may lie inside somebody else's repository
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache  # a process goes on with the code that it began with
def code_digest() -> str:
    """SHA-256 of latentbench's own code and of the versions of torch and Lightning: what the next number hangs on."""
    digest = hashlib.sha256(f"{torch.__version__} {version('pytorch-lightning')}".encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, phase: str) -> None:
        """End a phase."""
        now = time.monotonic()
        self.seconds[phase] = round(now - self.last, 3)
        self.last = now

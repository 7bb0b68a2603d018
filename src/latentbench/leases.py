"""Locks that the operating system drops when the process that holds them dies, however it dies."""

import contextlib
import errno
import fcntl
import getpass
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

WAIT = 1.0  # seconds between two looks for a device that is free


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock file for as long as the block lasts; False, and nothing is held, if another process has it.

    On a file system without locks (some network ones) it is as if nobody else were there.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                yield False
                return
            log.warning("%s cannot be locked (%s): see to it that one command at a time is at it", path, error.strerror)
        yield True  # closing the file drops the lock


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file."""
    if not path.is_file():
        return False
    with held(path) as free:
        return not free


@contextlib.contextmanager
def leased_device(devices: int, *, runs_per_device: int, folder: Path | None = None) -> Iterator[int | None]:
    """The number of a device that fewer than so many runs of this machine use; waits until there is one.

    None where there are no devices. Runs spread: a device is taken for a second run when each has a first.
    folder: of the lock files, the user's own on this machine if none is given.
    """
    if not devices:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"latentbench-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for place in range(runs_per_device):
            for device in range(devices):
                with held(folder / f"device{device}.{place}") as free:
                    if free:
                        yield device
                        return
        time.sleep(WAIT)

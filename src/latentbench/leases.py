"""Locks that the operating system drops when the process that holds them dies, however it dies."""

import contextlib
import errno
import fcntl
import getpass
import itertools
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
def leased_devices(
    total: int, n: int, *, runs_per_device: int, folder: Path | None = None
) -> Iterator[list[int] | None]:
    """The numbers of n devices that fewer than so many runs of this machine use each; waits until there are so many.

    None where there are not so many at all. Runs spread: a device is taken for a second run when each has a first.
    folder: of the lock files, the user's own on this machine if none is given.
    """
    if not 0 < n <= total:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"latentbench-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        with contextlib.ExitStack() as locks:  # all at once or none: two runs would wait for each other's
            taken: list[int] = []
            for place, device in itertools.product(range(runs_per_device), range(total)):
                is_wanted = len(taken) < n and device not in taken
                if is_wanted and locks.enter_context(held(folder / f"device{device}.{place}")):
                    taken.append(device)
            if len(taken) == n:
                yield taken
                return
        time.sleep(WAIT)

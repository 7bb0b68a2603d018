"""Locks that the operating system drops when the process that holds them dies, however it dies."""

import contextlib
import errno
import fcntl
import getpass
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

WAIT = 1.0  # seconds between two looks for a device that is free


@contextlib.contextmanager
def held(path: Path, *, patience: float = 0) -> Iterator[bool]:
    """Hold the lock file for as long as the block lasts; False, and nothing is held, if another process has it.

    patience: seconds for which that process is waited for.
    On a file system without locks (some network ones) it is as if nobody else were there.
    """
    with path.open("a") as file:
        until = time.monotonic() + patience
        while not _locked(file, path):
            if time.monotonic() >= until:
                yield False
                return
            time.sleep(0.1)
        yield True  # closing the file drops the lock


def _locked(file: TextIO, path: Path) -> bool:
    """Lock the open file, unless another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        log.warning("%s cannot be locked (%s): see to it that one command at a time is at it", path, error.strerror)
    return True


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file."""
    if not path.is_file():
        return False
    with held(path) as free:
        return not free


@contextlib.contextmanager
def leased_devices(
    names: Mapping[int, str], n: int, *, runs_per_device: int, folder: Path | None = None
) -> Iterator[list[int] | None]:
    """The numbers of n devices that fewer than so many runs of this machine use each; waits until there are so many.

    None where there are not so many at all. Runs spread: a device is taken for a second run when each has a first.
    names: number -> what all processes of this machine call the device, whatever its number is to them
    folder: of the lock files, the user's own on this machine if none is given
    """
    if not 0 < n <= len(names):
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"latentbench-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    is_first = True
    while True:
        with contextlib.ExitStack() as locks:  # all at once or none: two runs would wait for each other's
            users = {device: sum(map(is_held, folder.glob(f"{name}.*"))) for device, name in names.items()}
            taken: list[int] = []
            for device in sorted(names, key=lambda device: users[device]):
                places = (folder / f"{names[device]}.{place}" for place in range(runs_per_device))
                if len(taken) < n and users[device] < runs_per_device:
                    taken += [device] * any(locks.enter_context(held(place)) for place in places)
            if len(taken) == n:
                yield taken
                return
        if is_first:
            log.info("waiting for %d of %d devices, which other runs use", n, len(names))
            is_first = False
        time.sleep(WAIT)

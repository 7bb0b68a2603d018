"""Locks on files, which the operating system releases when the process that holds them ends, even by SIGKILL."""

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import Timeout, UnixFileLock

from latentbench.errors import UserError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between checks for free devices


@contextlib.contextmanager
def try_lock(path: Path, *, timeout: float = 0) -> Iterator[bool]:
    """Lock a file for the duration of the block; yields False if another process holds the lock.

    timeout: how long to wait for the other process, in seconds
    On a file system without locks (some network ones) it warns and yields True.
    """
    path.open("a").close()  # outside of the `try` below: an error here has nothing to do with locks
    # A lock of the operating system. A soft lock, held as long as its file exists, would outlive a killed process.
    lock = UnixFileLock(path, timeout=timeout, poll_interval=0.1, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        log.warning("%s cannot be locked (%s): run one command at a time in this folder", path, error.strerror)
    try:
        yield True
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock. Writes nothing, so that it can be asked in somebody else's folder."""
    # False if there is no lock, it may not be read, or the file system has no locks.
    with contextlib.suppress(OSError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def leased_devices(
    names: Mapping[int, str], n: int, *, runs_per_device: int, folder: Path | None = None
) -> Iterator[list[int] | None]:
    """Numbers of n devices, each used by fewer than `runs_per_device` runs; waits until there are n.

    Yields None if there are fewer than n devices in total. The least used devices are leased first.
    Raises: UserError if the folder cannot be written.
    names: number -> a name that is the same in all processes of this machine, however they number the devices
    folder: where the lock files are; by default a temporary folder of the user
    """
    if not 0 < n <= len(names):
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"latentbench-{os.getuid()}"  # a name it need not have
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}, for locks of GPUs, cannot be written ({error.strerror}): set TMPDIR") from error
    has_waited = False
    while True:
        with contextlib.ExitStack() as locks:  # all n or none: two runs that each hold some would wait for each other
            leased = _lease(names, n, runs_per_device, folder, locks)
            if len(leased) == n:
                yield leased
                return
        if not has_waited:
            log.info("waiting for %d of %d devices, which other runs use", n, len(names))
            has_waited = True
        time.sleep(POLL_SECONDS)


def _lease(
    names: Mapping[int, str], n: int, runs_per_device: int, folder: Path, locks: contextlib.ExitStack
) -> list[int]:
    """Lock up to n devices; each has a lock file `<name>.<slot>` per run that may use it."""
    users = {device: sum(map(is_locked, folder.glob(f"{name}.*"))) for device, name in names.items()}
    leased: list[int] = []
    for device in sorted(names, key=lambda device: users[device]):
        if len(leased) < n and users[device] < runs_per_device:
            slots = (folder / f"{names[device]}.{slot}" for slot in range(runs_per_device))
            if any(locks.enter_context(try_lock(path)) for path in slots):
                leased.append(device)
    return leased

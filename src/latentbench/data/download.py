"""Downloads that go on where they were interrupted, and of which nothing invalid is kept."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError as StreamError

from latentbench.errors import UserError

TIMEOUT = 20  # seconds without an answer
BLOCK = 1 << 20  # bytes
OUT_OF_RANGE = 416  # status: the partial download is as long as the file


def download(mirrors: Iterable[str], target: Path, check: Callable[[Path], None]) -> list[str] | None:
    """Download a file from the first mirror that gives the right one.

    What came of it is kept beside it, as `.<name>.part`, and any mirror can go on from there, in this call or a later
    one. The file appears under its name once it is complete and checked.
    mirrors: addresses, each to be followed by the file's name
    check: raises UserError for a file that is not the right one
    Returns: None, or what was wrong with each mirror. Raises: OSError if it cannot be written.
    """
    problems = []
    for mirror in mirrors:
        try:
            _download(mirror + target.name, target, check)
            return None
        except UserError:
            problems.append(f"{mirror}: not the published file")
        except requests.HTTPError as error:
            problems.append(f"{mirror}: status {error.response.status_code}")
        except (requests.RequestException, StreamError) as error:
            problems.append(f"{mirror}: {type(error).__name__}")
    return problems


def _download(url: str, target: Path, check: Callable[[Path], None]) -> None:
    part = target.with_name(f".{target.name}.part")
    while not target.is_file():
        before = _size(part)
        try:
            _go_on(url, part, target, check)
        except (requests.RequestException, StreamError):
            if _size(part) <= before:
                raise
        except UserError:
            if before == 0:
                raise
            # The beginning may have been another mirror's, and is gone now.


def _go_on(url: str, part: Path, target: Path, check: Callable[[Path], None]) -> None:
    """Ask for what is missing, append it, and give a complete file its name. Returns early if a process was faster."""
    offset = _size(part)
    # Files are wanted as they are stored, also where a server takes the .gz of a file for a way to send it.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if not (offset and response.status_code == OUT_OF_RANGE):
            response.raise_for_status()
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            if target.is_file():
                part.unlink(missing_ok=True)
            elif _size(part) == offset == os.fstat(file.fileno()).st_size:
                _append(response, file, offset)
                _finish(part, target, check)


def _append(response: requests.Response, file: BinaryIO, offset: int) -> None:
    if response.status_code == OUT_OF_RANGE:
        return
    if response.status_code != requests.codes.partial_content:
        offset = 0  # the server sends the whole file
        file.truncate(0)
    length = response.headers.get("Content-Length")
    with tqdm(
        desc=os.path.basename(response.request.url or ""),
        total=offset + int(length) if length else None,
        initial=offset,
        unit="B",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        for block in response.raw.stream(BLOCK, decode_content=False):
            file.write(block)
            bar.update(len(block))
    file.flush()
    os.fsync(file.fileno())


def _finish(part: Path, target: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except UserError:
        part.unlink()
        raise
    os.replace(part, target)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0

"""Images decoded once into a file of the user's cache, which is written whole or not at all."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from filelock import UnixFileLock

from latentbench.data.splits import order_of_content
from latentbench.data.streaming import MappedImages, Split
from latentbench.errors import UserError
from latentbench.records.user_cache import user_cache

FORMAT = 2  # of the cached files; counted up when the same settings come to mean other pixels
IMAGES, FACTS = "images", "facts.json"
COPIES = 2  # of all images while they are put in their order
BLOCK = 1000  # images that are copied at a time


class Cached(NamedTuple):
    """Decoded images, and what was found out about their files."""

    images: MappedImages
    facts: dict[str, Any]


def folder() -> Path:
    """The folder of decoded images. Raises: UserError if the system knows no home folder."""
    cache = user_cache()
    if cache is None:
        raise UserError("there is no home folder for decoded images: set XDG_CACHE_HOME=<folder>")
    return cache / "images"


def cache_key(kind: str, *parts: Any) -> str:
    """The key of images: a digest of the data set's class, and of the files and the settings that make its pixels."""
    return hashlib.sha256(json.dumps([kind, FORMAT, PIL.__version__, *parts]).encode()).hexdigest()[:24]


def cached_images(key: str, make: Callable[[Path], dict[str, Any]]) -> Cached:
    """The images of this key; made by one process while others wait, if they are not there.

    make: writes the file of images into a folder, and returns the facts; `shape` and `sizes` are among them
    Raises: UserError if the cache cannot be written or its disk is full.
    """
    target = folder() / key
    if found := _read(target):
        return found
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with UnixFileLock(target.with_suffix(".lock"), preserve_lock_file=True):
            return _read(target) or _make(target, make)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise too_full(target.parent) from error
        raise UserError(f"{target.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME=<folder>") from error


def _read(target: Path) -> Cached | None:
    try:
        facts = json.loads((target / FACTS).read_bytes())
        images = MappedImages(target / IMAGES, tuple(facts["shape"]), facts["sizes"])
        expected = sum(images.sizes.values()) * int(np.prod(images.shape))
        return Cached(images, facts) if images.path.stat().st_size == expected else None
    except (OSError, ValueError, KeyError):
        return None


def _make(target: Path, make: Callable[[Path], dict[str, Any]]) -> Cached:
    partial = target.with_suffix(".partial")
    for remains in (partial, target):  # of a process that was killed, or damaged
        shutil.rmtree(remains, ignore_errors=True)
    partial.mkdir()
    try:
        facts = make(partial)
        (partial / FACTS).write_text(json.dumps(facts))
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    made = _read(target)
    assert made is not None
    return made


def too_full(cache: Path, needed: float | None = None) -> UserError:
    """The error of a disk without room for the images, of which `needed` bytes are still to be written."""
    gib = "" if needed is None else f", of which {needed / 2**30:.2g} GiB are needed"
    free = shutil.disk_usage(cache).free / 2**30
    return UserError(
        f"the disk of {cache} has {free:.2g} GiB free{gib} for decoded images: make room, choose another cache by "
        "XDG_CACHE_HOME=<folder>, or take fewer images (data.limit)"
    )


class ImageWriter:
    """Appends images (C, H, W) to a file as they come, and then writes those of every split into another one."""

    def __init__(self, target: Path, n: int) -> None:
        self.target = target
        self.unsorted = target / "unsorted"
        self.n = n
        self.shape: tuple[int, int, int] | None = None
        self.is_grey = True  # all channels of all images are the same
        self._file = self.unsorted.open("wb")
        self.written = 0

    def append(self, image: np.ndarray) -> None:
        """Write an image. Raises: UserError if there is no room for all of them."""
        if self.shape is None:
            self.shape = image.shape
            needed = COPIES * self.n * image.size
            if shutil.disk_usage(self.target).free < needed:
                raise too_full(self.target.parent, needed)
        self.is_grey = self.is_grey and bool((image == image[:1]).all())
        self._file.write(image.tobytes())
        self.written += 1

    def finish(self, rows: Mapping[Split, list[int]], *, channels: int) -> dict[Split, list[int]]:
        """Write the file of images. Returns the rows in the order in which they are there.

        rows: numbers of the images of each split, counted from 0; those of validation and test are sorted by content
        channels: how many of an image's channels are kept
        """
        self._file.close()
        ordered: dict[Split, list[int]] = {}
        with (self.target / IMAGES).open("wb") as file:
            for split, numbers in rows.items():
                ordered[split] = numbers
                if split != "train":
                    order = order_of_content(map(torch.from_numpy, self._blocks(numbers, channels)))
                    ordered[split] = [numbers[i] for i in order]
                for block in self._blocks(ordered[split], channels):
                    file.write(block.tobytes())
        self.unsorted.unlink()
        return ordered

    def close(self) -> None:
        """Close the file, if nothing came of it."""
        self._file.close()

    def _blocks(self, numbers: list[int], channels: int) -> Iterator[np.ndarray]:
        assert self.shape is not None
        for start in range(0, len(numbers), BLOCK):
            # Mapped anew, so that what was read is free again.
            images = np.memmap(self.unsorted, np.uint8, "r", shape=(self.written, *self.shape))
            yield images[numbers[start : start + BLOCK], :channels]

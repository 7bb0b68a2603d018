"""Images of a user's own: split at random but for good, and decoded once into the cache."""

import dataclasses
import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from tqdm import tqdm

from latentbench.data.base import ImageData, Splits
from latentbench.data.image_cache import ImageWriter, cache_key, cached_images
from latentbench.data.splitting import check_fractions
from latentbench.data.streaming import SPLITS, Split
from latentbench.errors import UserError, check_number, check_whole_number
from latentbench.records.outside import content_digest

log = logging.getLogger(__name__)

NAMED = 10  # broken files that a line names; the record names all


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An image before it is read.

    split: None if it is to be drawn
    """

    name: str
    label: int
    split: Split | None


class OwnImages(ImageData, ABC):
    """Images of which no split, no size and no checksum was published.

    Splits that the files do not name are drawn: an image's place is the SHA-256 of `split_seed` and its name, and so
    the same in every run, on every machine, and whichever order the files are in. `limit` keeps the first images in
    this order, of all splits together.

    All images are decoded once into one file in the user's cache, whose name is a digest of the files and of the
    settings. Batches are cut from it, so that images need no memory.

    root: counts by its content, wherever it lies: the same settings with other files are another run
    fractions: `validation` and `test`, the share of images for splits that the files do not name
    max_broken: the largest share of files that may be broken; they are left out, named in a warning and in the record
    Raises: UserError if there are too few images for the splits or for a batch.
    """

    if_sizes_differ: ClassVar[str] = "set data.size, such as data.size=64"

    def __init__(
        self,
        *,
        name: str,
        root: str | None,
        fractions: Mapping[str, float],
        split_seed: int,
        limit: int | None,
        max_broken: float,
        binarize: str,
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name=name, binarize=binarize, flip=flip, batch_size=batch_size, seed=seed)
        self.root = root
        self.fractions = check_fractions(fractions, below=1)
        self.split_seed = check_whole_number("data.split_seed", split_seed, minimum=0)
        self.limit = None if limit is None else check_whole_number("data.limit", limit, minimum=3)
        self.max_broken = check_number("data.max_broken", max_broken, minimum=0, maximum=1)
        self._facts: dict[str, Any] = {}

    @abstractmethod
    def entries(self) -> list[Entry]:
        """All images there are, without reading them."""

    @abstractmethod
    def decode(self, entries: Sequence[Entry]) -> Iterator[tuple[Entry, np.ndarray | str]]:
        """Each image, uint8 (C, H, W), or why it is broken, in any order."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings that decide which images there are, and their pixels."""

    def class_names(self) -> Sequence[str]:
        """The name of each label."""
        return ()

    def channels(self, *, is_grey: bool) -> int | None:
        """How many channels are kept; None: all that were decoded."""
        return None

    @property
    def path(self) -> Path:
        """Where the files are. Raises: UserError if they are not there."""
        if not self.root:
            raise UserError(
                "data.root is not set: say where the images are, by data.root=<path>, or for a shared run in Python by "
                "run.config.data.root = '<path>'"
            )
        path = Path(os.path.expanduser(self.root))
        if not path.exists():
            raise UserError(f"data.root={self.root}: there is nothing at this path")
        return path

    def load(self) -> Splits:
        """Open the decoded images, or decode them. Raises: UserError if files are missing or cannot be used."""
        drawing = (self.fractions, self.split_seed, self.limit)
        key = cache_key(type(self).__name__, content_digest(self.path), *drawing, self.settings())
        images, self._facts = cached_images(key, self._write)
        self._check_broken()
        for split, n in images.sizes.items():
            if n == 0:
                raise UserError(f"data.root={self.root}: no {split} images")
        if images.sizes["train"] < self.batch_size:
            n = images.sizes["train"]
            raise UserError(f"data.batch_size={self.batch_size}: there are {n} training images; take {n} or fewer")
        labels = {split: torch.tensor(self._facts["labels"][split]) for split in SPLITS}
        return Splits(images=images, labels=labels)

    def facts(self) -> dict[str, Any]:
        """The number of images of each split, the classes, and the files that were left out as broken."""
        return {
            "images": self._facts["sizes"],
            "classes": self._facts["classes"],
            "broken_files": self._facts["broken"],
        }

    def _write(self, folder: Path) -> dict[str, Any]:
        splits = self._split(self.entries())
        where = {entry.name: split for split, of_split in splits.items() for entry in of_split}
        chosen = [entry for of_split in splits.values() for entry in of_split]
        broken: dict[str, str] = {}
        row_of: dict[str, int] = {}
        writer = ImageWriter(folder, len(chosen))
        try:
            bar = tqdm(self.decode(chosen), total=len(chosen), desc="decoding images", unit="image", disable=None)
            for entry, image in bar:
                if isinstance(image, str):
                    broken[entry.name] = image
                    continue
                if writer.shape not in (None, image.shape):
                    raise UserError(self._mixed(entry.name, image.shape, writer.shape))
                row_of[entry.name] = writer.written
                writer.append(image)
            if writer.shape is None:
                raise UserError(f"data.root={self.root}: no image can be read; {_named(broken)}")
            channels = self.channels(is_grey=writer.is_grey) or writer.shape[0]
            entry_of = {row_of[entry.name]: entry for entry in chosen if entry.name in row_of}
            rows: dict[Split, list[int]] = {split: [] for split in SPLITS}
            for row, entry in entry_of.items():
                rows[where[entry.name]].append(row)
            ordered = writer.finish(rows, channels=channels)
        finally:
            writer.close()
        return {
            "shape": [channels, *writer.shape[1:]],
            "sizes": {split: len(rows) for split, rows in ordered.items()},
            "labels": {split: [entry_of[row].label for row in rows] for split, rows in ordered.items()},
            "classes": list(self.class_names()),
            "broken": broken,
        }

    def _split(self, entries: list[Entry]) -> dict[Split, list[Entry]]:
        """The images of each split, in the order in which they are drawn."""
        kept = sorted(entries, key=lambda entry: hashlib.sha256(f"{self.split_seed} {entry.name}".encode()).digest())
        kept = kept[: self.limit]
        splits: dict[Split, list[Entry]] = {split: [e for e in kept if e.split == split] for split in SPLITS}
        rest = [entry for entry in kept if entry.split in (None, "train")]
        n, start = len(rest), 0
        for split in SPLITS[1:]:
            if not any(entry.split == split for entry in entries):
                end = start + round(self.fractions[split] * n)
                splits[split], start = rest[start:end], end
        splits["train"] = rest[start:]
        for split, of_split in splits.items():
            if not of_split:
                raise UserError(
                    f"data.root={self.root}: of {len(kept)} images none is left for {split}: "
                    "give more, or change data.fractions or data.limit"
                )
        return splits

    def _mixed(self, name: str, shape: tuple[int, ...], other: Any) -> str:
        return (
            f"data.root={self.root}: {name} has {shape[2]}x{shape[1]} pixels, others have {other[2]}x{other[1]}: "
            + self.if_sizes_differ
        )

    def _check_broken(self) -> None:
        broken, sizes = self._facts["broken"], self._facts["sizes"]
        if not broken:
            return
        n = len(broken) + sum(sizes.values())
        said = f"data.root={self.root}: {len(broken)} of {n} files are broken: {_named(broken)}"
        if len(broken) > self.max_broken * n:
            raise UserError(f"{said}; repair or remove them, or allow a larger share by data.max_broken")
        log.warning("%s; they are left out", said)


def _named(broken: Mapping[str, str]) -> str:
    named = [f"{name} ({reason})" for name, reason in sorted(broken.items())[:NAMED]]
    return ", ".join([*named, *(["..."] if len(broken) > NAMED else [])])

"""Images in arrays of numpy: an .npy, or an .npz with named arrays."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np

from latentbench.data.own_images import Entry, OwnImages
from latentbench.data.streaming import SPLITS, Split
from latentbench.errors import UserError

LAYOUTS = ("nhw", "nhwc", "nchw")
CHANNELS = (1, 3)
BLOCK_BYTES = 2**24  # of an array that are in memory at a time
# Names of arrays that are looked for if the settings give none.
USUAL_IMAGES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "x_train", "train_images"),
    "validation": ("validation", "val", "x_validation", "x_val", "validation_images", "val_images"),
    "test": ("test", "x_test", "test_images"),
}
USUAL_LABELS: dict[Split, tuple[str, ...]] = {
    "train": ("y_train", "train_labels"),
    "validation": ("y_validation", "y_val", "validation_labels", "val_labels"),
    "test": ("y_test", "test_labels"),
}
USUAL_LABELS_OF_ALL = ("y", "labels")


class Header(NamedTuple):
    """What an array's file says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ImageArrays(OwnImages):
    """Images in an .npz with named arrays, or in an .npy, which are read in blocks, and without pickle.

    Pixels are uint8, booleans, or floats in [0, 1], which are rounded to 256 levels. The axes are N H W, N H W C or
    N C H W, with one or three channels unless `layout` is set. An image's name, by which it is drawn, is its number.

    images: the name of each split's array in the .npz; null: train or x_train, and so on. A split without an array is
        drawn from the training images. An .npz with one array of images has all of them there.
    labels: likewise, null: y_train, and so on, or y or labels for a single array; images without an array have label 0
    layout: `nhw`, `nhwc` or `nchw`; null: as the shape tells
    Raises: UserError if pixels have another range or are not finite, or the axes cannot be told apart.
    """

    if_sizes_differ: ClassVar[str] = "give images of one size"

    def __init__(
        self,
        *,
        name: str,
        root: str | None,
        images: Mapping[str, str | None],
        labels: Mapping[str, str | None],
        layout: str | None,
        limit: int | None,
        fractions: Mapping[str, float],
        split_seed: int,
        binarize: str,
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(
            name=name,
            root=root,
            fractions=fractions,
            split_seed=split_seed,
            limit=limit,
            max_broken=0,
            binarize=binarize,
            flip=flip,
            batch_size=batch_size,
            seed=seed,
        )
        for key, given in (("images", images), ("labels", labels)):
            if set(given) != set(SPLITS):
                raise UserError(f"data.{key}={dict(given)}: give {', '.join(SPLITS)}")
        if layout not in (None, *LAYOUTS):
            raise UserError(f"data.layout={layout}: choose one of {', '.join(LAYOUTS)}")
        self.keys, self.label_keys, self.layout = dict(images), dict(labels), layout

    def settings(self) -> dict[str, Any]:
        return {"images": self.keys, "labels": self.label_keys, "layout": self.layout}

    def entries(self) -> list[Entry]:
        headers = self._headers()
        entries = []
        for split, key in self._images(headers).items():
            self._layout(key, headers[key])  # before anything is read
            labels = self._labels(split, headers[key].shape[0], headers)
            entries += [Entry(f"{key} {i}", label, split) for i, label in enumerate(labels)]
        return entries

    def decode(self, entries: Sequence[Entry]) -> Iterator[tuple[Entry, np.ndarray | str]]:
        entry_of = {entry.name: entry for entry in entries}
        headers = self._headers()
        for key in self._images(headers).values():
            layout, n = self._layout(key, headers[key]), 0
            for block in self._blocks(key):
                pixels = self._as_uint8(block, f"{key}, images {n} to {n + len(block) - 1}")
                if layout == "nhw":
                    pixels = pixels[:, None]
                elif layout == "nhwc":
                    pixels = pixels.transpose(0, 3, 1, 2)
                for i, image in enumerate(pixels, start=n):
                    if (entry := entry_of.get(f"{key} {i}")) is not None:
                        yield entry, image
                n += len(block)

    def _images(self, headers: Mapping[str, Header]) -> dict[Split | None, str]:
        """The array of each split; of None if all images are in one."""
        found: dict[Split | None, str] = {}
        for split in SPLITS:
            given = self.keys[split]
            if given is not None and given not in headers:
                raise UserError(f"data.images.{split}={given}: the arrays of {self.root} are {', '.join(headers)}")
            if key := given or next((name for name in USUAL_IMAGES[split] if name in headers), None):
                found[split] = key
        if "train" in found:
            return found
        alone = [key for key, header in headers.items() if len(header.shape) > 2 or len(headers) == 1]
        if found or len(alone) != 1:
            raise UserError(
                f"data.root={self.root}: name the array of the training images, data.images.train=<name>, one of "
                f"{', '.join(headers)}"
            )
        return {None: alone[0]}

    def _labels(self, split: Split | None, n: int, headers: Mapping[str, Header]) -> list[int]:
        given = self.label_keys["train" if split is None else split]
        if given is not None and given not in headers:
            raise UserError(f"data.labels: {self.root} has no {given}, but {', '.join(headers)}")
        usual = USUAL_LABELS_OF_ALL if split is None else USUAL_LABELS[split]
        key = given or next((name for name in usual if name in headers), None)
        if key is None:
            return [0] * n
        is_one_each = headers[key].shape == (n,) and headers[key].dtype.kind in "iu"
        labels = [int(label) for block in self._blocks(key) for label in block] if is_one_each else []
        if not is_one_each or min(labels, default=0) < 0:
            raise UserError(f"data.root={self.root}: {key} must have a whole number, 0 or more, for each of {n} images")
        return labels

    def _layout(self, key: str, header: Header) -> str:
        came = f"data.root={self.root}: {key} has shape {header.shape}"
        if header.dtype != np.uint8 and header.dtype.kind not in "fb":
            raise UserError(f"{came} and type {header.dtype}: give uint8, or floats in [0, 1]")
        possible = [
            layout
            for layout in LAYOUTS
            if len(layout) == len(header.shape)
            and ("c" not in layout or self.layout or header.shape[layout.index("c")] in CHANNELS)
            and self.layout in (None, layout)
        ]
        if not possible:
            wanted = self.layout or "N H W, N H W C or N C H W"
            channels = "" if self.layout else " with one or three channels, or set data.layout for others"
            raise UserError(f"{came}: give {wanted}{channels}")
        if len(possible) > 1:
            raise UserError(f"{came}, which may be {' or '.join(possible)}: set data.layout to one of these")
        return possible[0]

    def _as_uint8(self, block: np.ndarray, where: str) -> np.ndarray:
        if block.dtype == np.uint8:
            return block
        if block.dtype == bool:
            return block.astype(np.uint8) * np.uint8(255)
        if not np.isfinite(block).all():
            raise UserError(f"data.root={self.root}: {where} have pixels that are NaN or infinite")
        if block.min() < 0 or block.max() > 1:
            raise UserError(
                f"data.root={self.root}: {where} have floats from {block.min():g} to {block.max():g}: give floats in "
                "[0, 1], or uint8"
            )
        levels: np.ndarray = np.rint(block * 255).astype(np.uint8)
        return levels

    def _names(self) -> list[str]:
        if self.path.suffix != ".npz":
            return ["images"]  # whatever the file's name is: images are drawn by their names
        with zipfile.ZipFile(self.path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def _headers(self) -> dict[str, Header]:
        with self._readable():
            headers = {}
            for name in self._names():
                with self._open(name) as file:
                    headers[name] = read_header(file, f"data.root={self.root}: {name}")
            return headers

    def _blocks(self, key: str) -> Iterator[np.ndarray]:
        """Some rows of an array after others."""
        with self._readable(), self._open(key) as file:
            shape, dtype = read_header(file, key)
            row = math.prod(shape[1:]) * dtype.itemsize
            size = max(1, BLOCK_BYTES // max(1, row))
            for start in range(0, shape[0], size):
                n = min(size, shape[0] - start)
                content = file.read(n * row)
                if len(content) < n * row:
                    raise EOFError(f"{key} ends early")
                yield np.frombuffer(content, dtype).reshape(n, *shape[1:])

    @contextmanager
    def _open(self, key: str) -> Iterator[IO[bytes]]:
        if self.path.suffix != ".npz":
            with self.path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{key}.npy") as file:
                yield file

    @contextmanager
    def _readable(self) -> Iterator[None]:
        if self.path.suffix not in (".npy", ".npz") or Path(self.path).is_dir():
            raise UserError(f"data.root={self.root}: give an .npy or an .npz")
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
            raise UserError(f"data.root={self.root} is truncated or damaged ({error}): make it again") from error


def read_header(file: IO[bytes], name: str) -> Header:
    """Raises: UserError if the array holds Python objects, or its axes are in Fortran's order."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise UserError(f"{name} holds Python objects, which are never loaded: save an array of numbers")
    if is_fortran and len(shape) > 1:
        raise UserError(f"{name} is in Fortran's order: save np.ascontiguousarray of it")
    return Header(shape, dtype)

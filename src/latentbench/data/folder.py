"""A folder or an archive of image files."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import joblib
import numpy as np
from PIL import UnidentifiedImageError

from latentbench.data.decode import BACKGROUNDS, decode
from latentbench.data.image_files import image_files
from latentbench.data.own_images import Entry, OwnImages
from latentbench.data.streaming import Split
from latentbench.errors import UserError, check_whole_number

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}  # in capitals, too
CROPS = ("centre", "none")
NO_CLASS = "."  # the class of images that lie in no sub-folder
FILES_AT_A_TIME = 256  # whose contents and pixels are in memory while they are decoded
NAMED = 10  # classes that a line names


class ImageFolder(OwnImages):
    """PNG, JPEG, WebP, BMP and TIFF files below a folder, or in a .zip or .tar, which is read without unpacking it.

    A class is a sub-folder, with all that lies below it. If all images lie in `train/` and `validation/` (or `val/`) or
    `test/`, these are the splits, with the classes below them; a split that has no folder is drawn from `train/`.
    Folders around these are skipped if they hold nothing else, and so are hidden files.

    Images are turned as their EXIF data say, transparent ones laid over `background`, cropped, and then resized with
    Pillow's bicubic filter, which is antialiased: a pixel averages over all that it covers (Parmar et al. 2022 compare
    filters). Of palettes and CMYK the colours are taken, 16 bits are rounded to 8 (of colours the upper 8 are taken),
    ICC profiles are ignored, and of several images in a file the first counts.

    size: width and height, or [height, width], in pixels; null: as they are, all of one size
    crop: `centre`, the largest centred part with the proportions of `size`; `none`, so that resizing may change
        proportions; or the width and height of a centred square, in pixels, such as 140 for CelebA
    channels: 1 is grey, 3 is colour; null: 1 if all images are grey, else 3
    background: `white` or `black`
    classes: names of those that are kept; null: all
    Source of crop and size for CelebA: Larsen et al. 2016.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str | None,
        size: int | Sequence[int] | None,
        crop: str | int,
        channels: int | None,
        background: str,
        classes: Sequence[str] | None,
        limit: int | None,
        fractions: Mapping[str, float],
        split_seed: int,
        max_broken: float,
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
            max_broken=max_broken,
            binarize=binarize,
            flip=flip,
            batch_size=batch_size,
            seed=seed,
        )
        self.resized = None if size is None else _height_and_width(size)
        if crop not in CROPS and (type(crop) is not int or crop < 1):
            raise UserError(f"data.crop={crop}: choose one of {', '.join(CROPS)}, or a number of pixels")
        self.crop = crop
        if channels not in (None, 1, 3):
            raise UserError(f"data.channels={channels}: choose 1 for grey, 3 for colour, or null")
        self.wanted_channels = channels
        if background not in BACKGROUNDS:
            raise UserError(f"data.background={background}: choose one of {', '.join(BACKGROUNDS)}")
        self.background = background
        self.classes = None if classes is None else [str(each) for each in classes]
        self._names: list[str] = []  # of the classes that there are

    def settings(self) -> dict[str, Any]:
        return {
            "size": self.resized,
            "crop": self.crop,
            "channels": self.wanted_channels,
            "background": self.background,
            "classes": self.classes,
        }

    def class_names(self) -> Sequence[str]:
        return self._names

    def channels(self, *, is_grey: bool) -> int | None:
        return 1 if self.wanted_channels is None and is_grey else None

    def entries(self) -> list[Entry]:
        """Raises: UserError if there are no images, or none of a class that is asked for."""
        names = image_files(self.path).names()
        images = [name for name in names if name.lower().endswith(SUFFIXES)]
        if not images:
            kinds = Counter(PurePosixPath(name).suffix or "no suffix" for name in names)
            found = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(3)) or "no file at all"
            wanted = ", ".join(SUFFIXES)
            raise UserError(
                f"data.root={self.root}: it has no images ({wanted}), but {found}: name the folder or archive of images"
            )
        if self.path.is_dir():
            self._check_split_folders(images)
        places = self._places(images)
        there = sorted({folder for _, folder in places.values()})
        if missing := sorted(set(self.classes or []) - set(there)):
            shown = ", ".join([*there[:NAMED], *(["..."] if len(there) > NAMED else [])])
            raise UserError(f"data.classes: there is no {', '.join(missing)}; the classes are {shown}")
        self._names = [each for each in there if self.classes is None or each in self.classes]
        label_of = {each: label for label, each in enumerate(self._names)}
        return [Entry(name, label_of[folder], split) for name, (split, folder) in places.items() if folder in label_of]

    def _check_split_folders(self, images: Sequence[str]) -> None:
        with_images = {PurePosixPath(name).parts[0] for name in images}
        splits = sorted(each.name for each in self.path.iterdir() if each.is_dir() and _split_of(each.name))
        empty = [name for name in splits if name not in with_images]
        if "train" in map(_split_of, with_images) and empty:
            raise UserError(
                f"data.root={self.root}: {empty[0]}/ has no images: put some there, or remove it, and they are drawn "
                "from train/"
            )

    def _places(self, names: Sequence[str]) -> dict[str, tuple[Split | None, str]]:
        """The split and the class of each image."""
        folders = {name: PurePosixPath(name).parts[:-1] for name in names}
        while len(tops := {parts[:1] for parts in folders.values()}) == 1 and any(len(p) > 1 for p in folders.values()):
            folders = {name: parts[1:] for name, parts in folders.items()}
        of_splits = {top: split for top in tops if top and (split := _split_of(top[0]))}
        if len(of_splits) < 2:  # a single one may be a class, such as trains
            return {name: (None, (*parts, NO_CLASS)[0]) for name, parts in folders.items()}
        if "train" not in of_splits.values():
            there = ", ".join(f"{top}/" for (top,) in sorted(of_splits))
            raise UserError(
                f"data.root={self.root}: it has {there} and no train/: add it, or name one folder of images"
            )
        for name, parts in folders.items():
            if parts[:1] not in of_splits:
                raise UserError(f"data.root={self.root}: {name} lies in none of {', '.join(sorted(SPLIT_FOLDERS))}")
        return {name: (of_splits[parts[:1]], (*parts[1:], NO_CLASS)[0]) for name, parts in folders.items()}

    def decode(self, entries: Sequence[Entry]) -> Iterator[tuple[Entry, np.ndarray | str]]:
        entry_of = {entry.name: entry for entry in entries}
        files = image_files(self.path).read(entry_of)
        # Pillow warns of damage that it copes with, and of large images.
        with warnings.catch_warnings(), ThreadPoolExecutor(joblib.cpu_count()) as pool:
            warnings.simplefilter("ignore")
            while some := list(islice(files, FILES_AT_A_TIME)):
                for (name, _), image in zip(some, pool.map(lambda file: self._decode(*file), some), strict=True):
                    yield entry_of[name], image

    def _decode(self, name: str, content: bytes | Exception) -> np.ndarray | str:
        try:
            if isinstance(content, Exception):
                raise content
            return decode(
                content,
                size=self.resized,
                crop=self.crop,
                channels=self.wanted_channels,
                background=self.background,
            )
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except MemoryError:
            raise
        except UnidentifiedImageError:
            return "no image"
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _split_of(folder: str) -> Split | None:
    return SPLIT_FOLDERS.get(folder.lower())


def _height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    both = [size, size] if isinstance(size, int) else list(size)
    if len(both) != 2:
        raise UserError(f"data.size={size}: give the width and height, or [height, width]")
    height, width = (check_whole_number("data.size", each, minimum=1) for each in both)
    return height, width

"""CelebA: aligned faces, in the archive of the authors with their partition file."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentbench.data.base import Split
from latentbench.data.decode import decode
from latentbench.data.large_published import LargePublishedImages, Rows
from latentbench.errors import check_whole_number

ARCHIVE, PARTITION = "img_align_celeba.zip", "list_eval_partition.txt"
NUMBERS: dict[str, Split] = {"0": "train", "1": "validation", "2": "test"}  # in the partition file


class CelebA(LargePublishedImages):
    """162,770 training, 19,867 validation and 19,962 test photographs of faces in colour, in official splits.

    Of each photograph, 178x218 pixels, the square in the middle is cut out and resized with Pillow's bicubic filter,
    which averages all pixels that it covers. The files have no classes: all labels are 0.

    crop: width and height of the square that is cut out, in pixels
    size: width and height of the images, in pixels
    Source: Liu et al. 2015, Deep learning face attributes in the wild.
    """

    def __init__(
        self,
        *,
        name: str,
        crop: int,
        size: int,
        folder: str,
        root: str | None,
        mirrors: Sequence[str] | str,
        checksums: Mapping[str, str],
        binarize: str,
        flip: bool,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(
            name=name,
            folder=folder,
            root=root,
            mirrors=mirrors,
            checksums=checksums,
            binarize=binarize,
            flip=flip,
            batch_size=batch_size,
            seed=seed,
        )
        self.crop = check_whole_number("data.crop", crop, minimum=8)
        self.width = check_whole_number("data.size", size, minimum=8)

    def settings(self) -> dict[str, Any]:
        return {"crop": self.crop, "size": self.width}

    def rows(self, paths: Mapping[str, Path]) -> Rows:
        numbers = [number for _, number in _partition(paths)]
        of_splits = {
            split: np.array([i for i, number in enumerate(numbers) if NUMBERS[number] == split])
            for split in NUMBERS.values()
        }
        return Rows(of_splits, torch.zeros(len(numbers), dtype=torch.int64))

    def decoded(self, paths: Mapping[str, Path]) -> Iterator[np.ndarray]:
        size = (self.width, self.width)
        with zipfile.ZipFile(paths[ARCHIVE]) as files:
            for name, _ in _partition(paths):
                face = files.read(f"img_align_celeba/{name}")
                yield decode(face, size=size, crop=self.crop, channels=3, background="white")[None]


def _partition(paths: Mapping[str, Path]) -> list[list[str]]:
    """The name of each file, and the number of its split."""
    return [line.split() for line in paths[PARTITION].read_text().splitlines()]  # 000001.jpg 0

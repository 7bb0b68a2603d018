"""CelebA: aligned faces, in the archive of the authors with their partition file."""

import functools
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from latentbench.data.base import Split, Splits
from latentbench.data.decode import decode
from latentbench.data.published import PublishedImages, check_file
from latentbench.data.splitting import gather
from latentbench.errors import check_whole_number

ARCHIVE, PARTITION = "img_align_celeba.zip", "list_eval_partition.txt"
NUMBERS: dict[str, Split] = {"0": "train", "1": "validation", "2": "test"}  # in the partition file
CHUNK = 1_000  # images


class CelebA(PublishedImages):
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

    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Read the splits. Raises: UserError if a file is not the published one."""
        checksums = tuple(self.checksums[name] for name in (ARCHIVE, PARTITION))
        return _read(paths[ARCHIVE], paths[PARTITION], checksums, self.crop, self.width)


@functools.lru_cache(maxsize=1)  # the runs of a sweep in one process read their data once
def _read(archive: Path, partition: Path, checksums: tuple[str, ...], crop: int, size: int) -> Splits:
    for path, checksum in zip((archive, partition), checksums, strict=True):
        check_file(path, checksum)
    rows = [line.split() for line in partition.read_text().splitlines()]  # 000001.jpg 0
    indices = {
        split: np.array([i for i, (_, number) in enumerate(rows) if NUMBERS[number] == split])
        for split in NUMBERS.values()
    }
    return Splits(
        images=gather(indices, _images(archive, [name for name, _ in rows], crop, size)),
        labels={split: torch.zeros(len(chosen), dtype=torch.int64) for split, chosen in indices.items()},
    )


def _images(archive: Path, names: list[str], crop: int, size: int) -> Iterator[np.ndarray]:
    """Chunks of images (B, 3, size, size)."""
    with zipfile.ZipFile(archive) as files, tqdm(total=len(names), disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(names), CHUNK):
            some = (files.read(f"img_align_celeba/{name}") for name in names[start : start + CHUNK])
            chunk = [decode(face, size=(size, size), crop=crop, channels=3, background="white") for face in some]
            bar.update(len(chunk))
            yield np.stack(chunk)

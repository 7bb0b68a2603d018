"""EMNIST: six data sets of handwritten characters in one archive."""

import functools
import gzip
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from latentbench.data.idx import parse_idx
from latentbench.data.published import PublishedTrainAndTest, check_file
from latentbench.errors import UserError

SPLITS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")  # as EMNIST calls its data sets


class Emnist(PublishedTrainAndTest):
    """One of EMNIST's data sets: images of 28x28 pixels with 256 grey levels, upright as those of MNIST.

    In the files, every image is transposed. Labels are those of the files, so that letters count from 1.
    split: which of the six data sets
    validation: number of the official training images that are taken for validation, stratified by class
    Source: Cohen et al. 2017, EMNIST: an extension of MNIST to handwritten letters.
    """

    def __init__(
        self,
        *,
        name: str,
        split: str,
        folder: str,
        root: str | None,
        mirrors: Sequence[str] | str,
        checksums: Mapping[str, str],
        validation: int,
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
            validation=validation,
            binarize=binarize,
            flip=flip,
            batch_size=batch_size,
            seed=seed,
        )
        if split not in SPLITS:
            raise UserError(f"data.split={split}: choose one of {', '.join(SPLITS)}")
        self.split = split

    def official(self, paths: Mapping[str, Path]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        (name, path), *_ = paths.items()
        train, test = (_read(path, self.checksums[name], f"emnist-{self.split}-{part}") for part in ("train", "test"))
        return train, test


@functools.lru_cache(maxsize=2)  # the runs of a sweep in one process read their data once
def _read(archive: Path, checksum: str, prefix: str) -> tuple[Tensor, Tensor]:
    check_file(archive, checksum)
    with zipfile.ZipFile(archive) as files:
        images, labels = (
            parse_idx(gzip.decompress(files.read(f"gzip/{prefix}-{kind}-ubyte.gz")))
            for kind in ("images-idx3", "labels-idx1")
        )
    return images.mT[:, None].contiguous(), labels.long()

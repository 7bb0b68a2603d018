"""CIFAR-10 and CIFAR-100, each in the archive of its binary version."""

import functools
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentbench.data.published import PublishedTrainAndTest, check_file
from latentbench.errors import check_whole_number

SHAPE = (3, 32, 32)


class Cifar(PublishedTrainAndTest):
    """40,000 training, 10,000 validation and 10,000 test photographs of 32x32 pixels in colour.

    The validation images are a random part of the official 50,000 training images, stratified by class, and the same in
    every run. The test images are the official ones. A record of a file is its labels, a byte each, then the red, the
    green and the blue pixels, row by row.

    train, test: names of the files in the archive
    label_bytes: number of labels of an image, of which the last counts: in CIFAR-100, the fine label comes second
    validation: number of the official training images that are taken for validation
    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        root: str | None,
        mirrors: Sequence[str] | str,
        checksums: Mapping[str, str],
        train: Sequence[str],
        test: Sequence[str],
        label_bytes: int,
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
        self.train, self.test = tuple(train), tuple(test)
        self.label_bytes = check_whole_number("data.label_bytes", label_bytes, minimum=1)

    def official(self, paths: Mapping[str, Path]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        (name, path), *_ = paths.items()
        train, test = (
            _read(path, self.checksums[name], members, self.label_bytes) for members in (self.train, self.test)
        )
        return train, test


@functools.lru_cache(maxsize=2)  # the runs of a sweep in one process read their data once
def _read(archive: Path, checksum: str, members: tuple[str, ...], label_bytes: int) -> tuple[Tensor, Tensor]:
    check_file(archive, checksum)
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as files:
        for entry in files:
            if entry.name in members and (content := files.extractfile(entry)):
                found[entry.name] = content.read()
    records = np.frombuffer(b"".join(found[name] for name in members), np.uint8)
    records = records.reshape(-1, label_bytes + int(np.prod(SHAPE)))
    images = torch.from_numpy(records[:, label_bytes:].reshape(-1, *SHAPE).copy())
    return images, torch.from_numpy(records[:, label_bytes - 1].astype(np.int64))

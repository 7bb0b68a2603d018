"""MNIST as Larochelle binarized it, in three text files."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentbench.data.base import Split, Splits
from latentbench.data.published import PublishedImages, check_file

FILES: dict[Split, str] = {
    "train": "binarized_mnist_train.amat",
    "validation": "binarized_mnist_valid.amat",
    "test": "binarized_mnist_test.amat",
}
SIDE = 28


class StaticMnist(PublishedImages):
    """50,000 training, 10,000 validation and 10,000 test images of 28x28 pixels, black or white, in official splits.

    The pixels were drawn once, with the grey values of MNIST as their means. There are no labels: all are 0. A line of
    a file is an image, as 784 digits 0 or 1 with a space between them.
    Source: the binarization of Salakhutdinov & Murray 2008, On the quantitative analysis of deep belief networks, as
    Larochelle published it.
    """

    noise_caveat = (
        "images whose pixels were drawn once are compared with decoders' means, which have no such noise: samples seem "
        "blurred and further from real images, the floor does not"
    )

    def read(self, paths: Mapping[str, Path]) -> Splits:
        """Read the splits. Raises: UserError if a file is not the published one."""
        images = {split: _read(paths[name], self.checksums[name]) for split, name in FILES.items()}
        return Splits(images, {split: torch.zeros(len(tensor), dtype=torch.int64) for split, tensor in images.items()})


@functools.lru_cache(maxsize=3)  # the runs of a sweep in one process read their data once
def _read(path: Path, checksum: str) -> Tensor:
    check_file(path, checksum)
    digits = np.frombuffer(path.read_bytes(), np.uint8)[::2] - ord("0")
    return torch.from_numpy(digits * np.uint8(255)).reshape(-1, 1, SIDE, SIDE)

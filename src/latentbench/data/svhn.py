"""SVHN: house numbers from street views, in two files of MATLAB."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from latentbench.data.published import PublishedTrainAndTest, check_file


class Svhn(PublishedTrainAndTest):
    """63,257 training, 10,000 validation and 26,032 test photographs of 32x32 pixels in colour: without `extra`.

    The validation images are a random part of the official 73,257 training images, stratified by digit, and the same in
    every run. The test images are the official ones. The label 10 of the files, the digit 0, becomes 0.

    validation: number of the official training images that are taken for validation
    Source: Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning.
    """

    def official(self, paths: Mapping[str, Path]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        files = (f"{part}_32x32.mat" for part in ("train", "test"))
        train, test = (_read(paths[name], self.checksums[name]) for name in files)
        return train, test


@functools.lru_cache(maxsize=2)  # the runs of a sweep in one process read their data once
def _read(path: Path, checksum: str) -> tuple[Tensor, Tensor]:
    check_file(path, checksum)
    content = loadmat(path, variable_names=("X", "y"))  # X: (32, 32, 3, N)
    images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
    return torch.from_numpy(images), torch.from_numpy(content["y"].ravel().astype(np.int64) % 10)

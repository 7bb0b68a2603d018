"""Omniglot at 28x28 pixels, in a file of MATLAB."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from latentbench.data.published import PublishedTrainAndTest, check_file

SIDE = 28


class Omniglot(PublishedTrainAndTest):
    """23,000 training, 1,345 validation and 8,070 test images of 28x28 pixels, of characters of 50 alphabets.

    The version of Burda et al. 2016, in which the characters are white on black, with their split. The validation
    images are as many as theirs, a random part of the official training images, stratified by alphabet, and the same in
    every run. The label of an image is its alphabet. In the file, images are columns of grey values in [0, 1],
    transposed; here they are upright, rounded to 256 levels.

    validation: number of the official training images that are taken for validation
    Source: Burda et al. 2016, Importance weighted autoencoders; Lake et al. 2015, Human-level concept learning through
    probabilistic program induction.
    """

    def official(self, paths: Mapping[str, Path]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        (name, path), *_ = paths.items()
        return _read(path, self.checksums[name])


@functools.lru_cache(maxsize=1)  # the runs of a sweep in one process read their data once
def _read(path: Path, checksum: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    check_file(path, checksum)
    content = loadmat(path, variable_names=("data", "target", "testdata", "testtarget"))
    return _part(content["data"], content["target"]), _part(content["testdata"], content["testtarget"])


def _part(data: np.ndarray, target: np.ndarray) -> tuple[Tensor, Tensor]:
    """data: grey values (784, N); target: one-hot alphabets (50, N)"""
    columns = np.round(data.T * 255).astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    return torch.from_numpy(columns).mT.contiguous(), torch.from_numpy(target.argmax(0).astype(np.int64))

"""scikit-learn's digits."""

import functools

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from latentbench.data.base import ImageData, Splits


class Digits(ImageData):
    """1,797 handwritten digits of 8x8 pixels with 17 grey levels, split 1,077 / 360 / 360, stratified by digit.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), as shipped with scikit-learn.
    """

    def __init__(self, *, binarize: str, flip: bool, batch_size: int, seed: int) -> None:
        super().__init__(name="digits", binarize=binarize, flip=flip, batch_size=batch_size, seed=seed)

    def load(self) -> Splits:
        return _load()


@functools.cache
def _load() -> Splits:
    digits = load_digits()
    images = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    rest, test = train_test_split(range(len(labels)), test_size=360, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=360, stratify=labels[rest], random_state=0)
    return Splits(
        images={"train": images[train], "validation": images[validation], "test": images[test]},
        labels={"train": labels[train], "validation": labels[validation], "test": labels[test]},
    )

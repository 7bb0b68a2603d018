"""Splits of published images: parts of the official training images, or of all where there is no official split.

Of a user's own images they are shares, which are checked here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from torch import Tensor

from latentbench.data.base import Split, Splits
from latentbench.errors import UserError, check_number

HELD_OUT = 0.2  # share of all images in the validation split, and in the test split, where none is official


def check_fractions(fractions: Any, *, below: float) -> dict[str, float]:
    """Return the shares of images for validation and test.

    Raises: UserError if these are not numbers above 0 and below a bound, or leave no images for training.
    """
    if not isinstance(fractions, Mapping) or set(fractions) != {"validation", "test"}:
        raise UserError(f"data.fractions={fractions}: give data.fractions.validation=... and data.fractions.test=...")
    checked = {
        split: check_number(f"data.fractions.{split}", fraction, above=0, below=below)
        for split, fraction in fractions.items()
    }
    if sum(checked.values()) >= 1:
        raise UserError(f"data.fractions={dict(fractions)}: leave some images for training")
    return checked


def with_validation(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, n: int) -> Splits:
    """Take n of the official training images for validation: at random, stratified by class, the same in every run.

    train, test: images uint8 (N, C, H, W) and labels int64 (N,)
    """
    images, labels = train
    kept, validation = train_test_split(np.arange(len(labels)), test_size=n, stratify=labels, random_state=0)
    return Splits(
        images={"train": images[kept], "validation": images[validation], "test": test[0]},
        labels={"train": labels[kept], "validation": labels[validation], "test": test[1]},
    )


def three_parts(labels: Tensor) -> dict[Split, np.ndarray]:
    """Indices of 60 % / 20 % / 20 % of the images: at random, stratified by class, the same in every run."""
    n = round(HELD_OUT * len(labels))
    rest, test = train_test_split(np.arange(len(labels)), test_size=n, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=n, stratify=labels[rest], random_state=0)
    return {"train": train, "validation": validation, "test": test}

"""The data sets that contracts are checked on, and small ones."""

import contextlib
import functools
import socket
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import Tensor

from latentbench.contracts.options import composed
from latentbench.contracts.own_files import own_files, reads_own_files
from latentbench.data.base import ImageData, Split, Splits
from latentbench.data.digits import Digits
from latentbench.errors import UserError
from latentbench.evaluation.build import build

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class GivenImages(ImageData):
    """A data set of given images."""

    def __init__(self, splits: Splits, *, name: str, binarize: str = "none", seed: int = 0) -> None:
        super().__init__(name=name, binarize=binarize, batch_size=16, seed=seed)
        self.given = splits

    def load(self) -> Splits:
        return self.given


@functools.cache
def _digits() -> Splits:
    return Digits(binarize="none", flip=False, batch_size=16, seed=0).splits


def few_digits(n: int = 40, binarize: str = "none") -> ImageData:
    """The first n digits of every split."""
    digits = _digits()
    few = Splits({split: digits.images[split][:n] for split in SPLITS}, {s: digits.labels[s][:n] for s in SPLITS})
    return GivenImages(few, name="digits", binarize=binarize)


def noise_images(shape: tuple[int, int, int], n: int = 40) -> ImageData:
    """n images of uniform noise in every split."""
    images = {split: torch.randint(0, 256, (n, *shape), dtype=torch.uint8) for split in SPLITS}
    return GivenImages(Splits(images, {split: torch.zeros(n, dtype=torch.int64) for split in SPLITS}), name="noise")


@functools.cache
def _loaded(option: str, *overrides: str) -> ImageData | str:
    node = composed(f"data={option}", *overrides).data
    forms = [{"root": str(root), "name": "digits"} for root in own_files()] if reads_own_files(node) else [{}]
    for form in forms[:-1]:
        with contextlib.suppress(UserError):
            return _set_up(build(node, seed=0, **form), option)
    return _set_up(build(node, seed=0, **forms[-1]), option)


def _set_up(data: ImageData, option: str) -> ImageData | str:
    with mock.patch.object(socket, "getaddrinfo", side_effect=OSError("no downloads in tests")):
        try:
            data.setup()
        except UserError as error:
            if "LATENTBENCH_DATA" in str(error):
                return f"data={option} is not on this machine, and tests download nothing: set LATENTBENCH_DATA"
            if "latentbench[" in str(error) or "data.path is not set" in str(error):
                return str(error)
            raise
    return data


def data_set(option: str, *overrides: str) -> ImageData:
    """A data set as `data=<option>` sets it up; skips the test where its files are not there."""
    data = _loaded(option, *overrides)
    if isinstance(data, str):
        pytest.skip(data)
    return data


def shown_to_trainer(data: ImageData) -> ImageData:
    """The data set as a trainer on the processor would use it."""
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data


def some_images(data: ImageData, n: int = 16) -> Tensor:
    """A batch of training images."""
    return data.images("train")[:n]

"""The options that lie on disk and small things built of them: what is added to conf/ is tested by being there."""

import functools
import socket
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from latentbench.configuration import CONF_DIR, GROUPS, compose_config
from latentbench.data.base import ImageData, Split, Splits
from latentbench.data.digits import Digits
from latentbench.errors import UserError
from latentbench.metrics.base import Evidence
from latentbench.models.autoencoder import Autoencoder
from latentbench.models.base import GenerativeModel
from latentbench.run import build, build_model

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SEVERAL = ("sampler", "metric")  # groups of which a run has a list
WITHOUT_TARGET = ("method", "sweep")  # groups that only set other groups


def options(group: str) -> list[str]:
    """Names of a group's YAMLs."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


ALL = [(group, option) for group in GROUPS for option in options(group)]
WITH_TARGET = [(group, option) for group, option in ALL if group not in WITHOUT_TARGET]


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config of a command, to be read only."""
    return compose_config(list(overrides))


def chosen(group: str, option: str) -> str:
    """The override that picks an option."""
    return f"{group}=[{option}]" if group in SEVERAL else f"{group}={option}"


def node_of(group: str, option: str) -> DictConfig:
    """The part of the config that an option's YAML fills."""
    node: DictConfig = composed(chosen(group, option))[group]
    if group not in SEVERAL:
        return node
    (part,) = node.values()
    return part


def part_of(group: str, option: str, **parts: Any) -> Any:
    """An option's object."""
    return build(node_of(group, option), **parts)


class GivenImages(ImageData):
    """A data set of given images."""

    def __init__(self, splits: Splits, *, name: str, binarize: str = "none", seed: int = 0) -> None:
        super().__init__(name=name, binarize=binarize, batch_size=16, seed=seed)
        self.given = splits

    def load(self) -> Splits:
        return self.given


def few_digits(n: int = 40, binarize: str = "none") -> ImageData:
    """The first n digits of every split."""
    digits = Digits(binarize="none", batch_size=16, seed=0).splits
    few = Splits({split: digits.images[split][:n] for split in SPLITS}, {s: digits.labels[s][:n] for s in SPLITS})
    return GivenImages(few, name="digits", binarize=binarize)


def noise_images(shape: tuple[int, int, int], n: int = 40) -> ImageData:
    """n images of uniform noise in every split."""
    images = {split: torch.randint(0, 256, (n, *shape), dtype=torch.uint8) for split in SPLITS}
    return GivenImages(Splits(images, {split: torch.zeros(n, dtype=torch.int64) for split in SPLITS}), name="noise")


@functools.cache
def _loaded(option: str, *overrides: str) -> ImageData | str:
    data: ImageData = build(composed(f"data={option}", *overrides).data, seed=0)
    with mock.patch.object(socket, "getaddrinfo", side_effect=OSError("no downloads in tests")):
        try:
            data.setup()
        except UserError as error:
            if "LATENTBENCH_DATA" in str(error):
                return f"data={option} is not on this machine, and tests download nothing: set LATENTBENCH_DATA"
            raise
    return data


def data_set(option: str, *overrides: str) -> ImageData:
    """A data set as `data=<option>` sets it up; skips the test where its files are not there."""
    data = _loaded(option, *overrides)
    if isinstance(data, str):
        pytest.skip(data)
    return data


def shown_to(data: ImageData, *, models_pixels: bool = True) -> ImageData:
    """The data set as a trainer on the processor would use it for a model."""
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        lightning_module=SimpleNamespace(models_pixels=models_pixels),
    )
    return data


def untrained(data: ImageData, *overrides: str) -> GenerativeModel:
    """A model with small networks and its first weights."""
    torch.manual_seed(0)
    return build_model(composed("backbone=mlp", "backbone.hidden=[16]", *overrides), data)


def linear_autoencoder(scale: float, *, pixels: int = 6, latent_size: int = 2) -> Autoencoder:
    """A linear-Gaussian model of images of 1 row: x ~ N(W z + b, scale^2 I), and an affine encoder."""
    shape = (1, 1, pixels)
    model: Autoencoder = part_of(
        "model",
        "autoencoder",
        backbone=part_of("backbone", "linear", shape=shape, latent_size=latent_size),
        posterior=part_of("posterior", "gaussian", features=pixels, latent_size=latent_size),
        prior=part_of("prior", "normal", shape=shape, latent_size=latent_size),
        regularizer=part_of("regularizer", "kl", latent_size=latent_size),
        likelihood=part_of("likelihood", "gaussian", scale=scale),
    )
    return model


def evidence(reference: Tensor, **parts: Any) -> Evidence:
    """Evidence of given parts, for grey images, with the reference as test images too."""
    given = {"model": None, "data": SimpleNamespace(is_binary=False), "features": None, "images": {}, "absent": {}}
    return Evidence(**(given | {"reference": reference, "test": reference} | parts))


def some_images(data: ImageData, n: int = 16) -> Tensor:
    """A batch of training images."""
    return data.images("train")[:n]

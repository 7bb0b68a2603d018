"""The contract of a likelihood: how the decoder's raw output becomes a distribution of the pixels."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


class PixelDistribution(Distribution):
    """p(x|z) for latents (..., B, D). Subclasses implement `mean`, `sample` and `log_prob`.

    `mean` is the decoded image: metrics, samples and image grids use it, clipped to [0, 1].
    Shape: raw (..., B, C', H, W); batch shape (..., B), event shape (C, H, W).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, raw: Tensor, *, channels: int | None = None) -> None:
        """channels: C; None: as many as the raw output has, one number per pixel and channel."""
        self.raw = raw
        event_shape = torch.Size([channels or raw.shape[-3], *raw.shape[-2:]])
        super().__init__(raw.shape[:-3], event_shape, validate_args=False)


class Likelihood(nn.Module, ABC):
    """Turns the decoder's raw output into p(x|z).

    To add one, subclass Likelihood and implement `forward` and `not_a_density_of`. Parameters of the module are
    trained together with the networks. `log_prob` of the distribution is in nats, summed over pixels, and includes its
    normalizing constant, so that the numbers of different likelihoods can be compared: densities with densities, and
    probabilities of `levels` with such.
    """

    levels: ClassVar[int | None] = None  # grey levels of which p(x|z) is a probability; None: a density, or binary

    def raw_channels(self, channels: int) -> int:
        """C', how many channels the decoder's raw output has for images of so many."""
        return channels

    @abstractmethod
    def forward(self, raw: Tensor) -> PixelDistribution:
        """Return p(x|z) for raw outputs (..., B, C', H, W), any real numbers."""

    @abstractmethod
    def not_a_density_of(self, *, binary: bool) -> str | None:
        """Say why p(x|z) is not a proper distribution of these pixels; None if it is one.

        binary: True if all pixels are 0 or 1, False if they are grey values in [0, 1].
        """

    def facts(self) -> dict[str, Any]:
        """Return values found by training that belong in the record, such as a learned scale."""
        return {}


def not_of_binary(what: str, *, binary: bool) -> str | None:
    """Why a distribution of grey values is none of binary pixels. what: the distribution, in words."""
    if not binary:
        return None
    return f"{what}, and these pixels are 0 or 1: take likelihood=bernoulli, or data.binarize=none"

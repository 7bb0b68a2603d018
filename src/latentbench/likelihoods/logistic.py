"""Discretized logistic likelihood with one scale for all pixels."""

import math

import torch
from torch import Tensor

from latentbench.likelihoods.base import PixelDistribution
from latentbench.likelihoods.levels import (
    LAST,
    LevelsLikelihood,
    draw_logistic,
    level_of,
    logistic_log_prob,
    logistic_mean,
)
from latentbench.likelihoods.one_scale import OneScaleLikelihood


class LogisticPixels(PixelDistribution):
    """Independent pixels: a logistic variable with location raw, in [0, 1], and scale s, rounded to 256 levels."""

    def __init__(self, raw: Tensor, log_scale: Tensor) -> None:
        super().__init__(raw)
        self.location, self.log_scale = LAST * raw, log_scale + math.log(LAST)  # in levels

    @property
    def mean(self) -> Tensor:
        """That of the clipped variable before it is rounded."""
        return logistic_mean(self.location, self.log_scale) / LAST

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        location = self.location.detach().expand(self._extended_shape(torch.Size(sample_shape)))
        return draw_logistic(location, self.log_scale.detach()) / LAST

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels, as a probability of 256 levels."""
        return logistic_log_prob(level_of(value), self.location, self.log_scale).flatten(-3).sum(-1)


class LogisticLikelihood(OneScaleLikelihood, LevelsLikelihood):
    """P(x|z) = prod_pixels sigmoid((x + h - raw) / s) - sigmoid((x - h - raw) / s), h = 1/510; 0 and 1 have the tails.

    Raises: UserError if the scale is neither `learned` nor a number above 0.
    Source: Kingma et al. 2016 (IAF), with a scale that is fixed or learned.
    """

    def forward(self, raw: Tensor) -> LogisticPixels:
        return LogisticPixels(raw, self.current_log_scale())

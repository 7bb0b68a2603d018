"""Laplace likelihood with one scale for all pixels."""

import math

import torch
from torch import Tensor

from latentbench.likelihoods.base import PixelDistribution, not_of_binary
from latentbench.likelihoods.one_scale import OneScaleLikelihood


class LaplacePixels(PixelDistribution):
    """Independent pixels around m = raw: log p(x) = -sum |x - m| / s - n log(2 s), for n = C H W pixels."""

    def __init__(self, raw: Tensor, log_scale: Tensor) -> None:
        self.log_scale = log_scale
        super().__init__(raw)

    @property
    def mean(self) -> Tensor:
        return self.raw

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        mean = self.raw.detach().expand(self._extended_shape(torch.Size(sample_shape)))
        # The difference of two exponential variables has a Laplace distribution.
        noise = torch.empty_like(mean).exponential_() - torch.empty_like(mean).exponential_()
        return mean + self.log_scale.detach().exp() * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels, as a density of pixel values in [0, 1]."""
        distances = (value - self.raw).abs().flatten(-3).sum(-1)
        return -distances * (-self.log_scale).exp() - self.event_shape.numel() * (self.log_scale + math.log(2))


class LaplaceLikelihood(OneScaleLikelihood):
    """p(x|z) = prod exp(-|x - raw| / s) / 2 s, the absolute error as a density; s is fixed or learned.

    Raises: UserError if the scale is neither `learned` nor a number above 0.
    """

    def forward(self, raw: Tensor) -> LaplacePixels:
        return LaplacePixels(raw, self.current_log_scale())

    def not_a_density_of(self, *, binary: bool) -> str | None:
        return not_of_binary("a Laplace likelihood is a density of grey values", binary=binary)

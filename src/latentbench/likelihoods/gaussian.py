"""Gaussian likelihood with one scale for all pixels."""

import math

import torch
from torch import Tensor

from latentbench.likelihoods.base import PixelDistribution, not_of_binary
from latentbench.likelihoods.one_scale import OneScaleLikelihood


class GaussianPixels(PixelDistribution):
    """N(raw, scale^2 I): log p(x) = -|x - raw|^2 / 2 scale^2 - n (log scale + log(2 pi) / 2), for n = C H W pixels."""

    def __init__(self, raw: Tensor, log_scale: Tensor) -> None:
        self.log_scale = log_scale
        super().__init__(raw)

    @property
    def mean(self) -> Tensor:
        return self.raw

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        mean = self.raw.detach().expand(self._extended_shape(torch.Size(sample_shape)))
        return mean + self.log_scale.detach().exp() * torch.randn_like(mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels, as a density of pixel values in [0, 1]."""
        squares = (value - self.raw).square().flatten(-3).sum(-1)
        constant = self.event_shape.numel() * (self.log_scale + 0.5 * math.log(2 * math.pi))
        return -0.5 * squares * (-2 * self.log_scale).exp() - constant


class GaussianLikelihood(OneScaleLikelihood):
    """p(x|z) = N(x; raw, scale^2 I) with its normalizing constant, and a scale that is fixed or learned.

    Raises: UserError if the scale is neither `learned` nor a number above 0.
    Source: Rybkin et al. 2021 (sigma-VAE), equation 4.
    """

    def forward(self, raw: Tensor) -> GaussianPixels:
        return GaussianPixels(raw, self.current_log_scale())

    def not_a_density_of(self, *, binary: bool) -> str | None:
        return not_of_binary("a Gaussian likelihood is a density of grey values", binary=binary)

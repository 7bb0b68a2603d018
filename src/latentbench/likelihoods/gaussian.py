"""Gaussian likelihood with one scale for all pixels."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentbench.errors import UserError
from latentbench.likelihoods.base import Likelihood, PixelDistribution

MIN_LOG_SCALE = -6.0
# Adam changes every parameter by about its learning rate per step. This factor lets the scale converge within the
# first few hundred steps; without it, the scale would lag behind the decoder for thousands of steps.
LOG_SCALE_SPEED = 10.0


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


class GaussianLikelihood(Likelihood):
    """p(x|z) = N(x; raw, scale^2 I) with its normalizing constant, and a scale that is fixed or learned.

    Raises: UserError if the scale is neither `learned` nor a number above 0.
    Source: Rybkin et al. 2021 (sigma-VAE), equation 4, with the paper's soft lower bound on the learned log scale.
    """

    def __init__(self, *, scale: float | str) -> None:
        super().__init__()
        self.is_learned = scale == "learned"
        if self.is_learned:
            self.parameter = nn.Parameter(torch.zeros(()))
        elif isinstance(scale, int | float) and 0 < scale < math.inf:
            self.register_buffer("fixed_log_scale", torch.tensor(math.log(scale)))
        else:
            raise UserError(f"likelihood.scale={scale}: give `learned` or a number above 0")

    def current_log_scale(self) -> Tensor:
        """The logarithm of the scale, a scalar."""
        if not self.is_learned:
            assert isinstance(self.fixed_log_scale, Tensor)
            return self.fixed_log_scale
        return MIN_LOG_SCALE + softplus(LOG_SCALE_SPEED * self.parameter - MIN_LOG_SCALE)

    def forward(self, raw: Tensor) -> GaussianPixels:
        return GaussianPixels(raw, self.current_log_scale())

    def not_a_density_of(self, *, binary: bool) -> str | None:
        if not binary:
            return None
        return (
            "a Gaussian likelihood is a density of grey values, and these pixels are 0 or 1: "
            "take likelihood=bernoulli, or data.binarize=none"
        )

    def facts(self) -> dict[str, Any]:
        return {"likelihood_scale": self.current_log_scale().exp().item()}

"""Beta distribution on the box [-sqrt(3), sqrt(3)]."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Beta, Distribution, Uniform, constraints
from torch.distributions.kl import register_kl

from latentbench.distributions.spaces import BOX_HALF_WIDTH


class BoxBeta(Distribution):
    """z = w (2 b - 1) on (-w, w), with b ~ Beta(alpha, beta) and w = sqrt(3). It is uniform for alpha = beta = 1."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, alpha: Tensor, beta: Tensor) -> None:
        # In float64, because the terms of the log-density nearly cancel: at concentrations of 1e4 no digit of it would
        # be right in single precision.
        self.exact = Beta(alpha.double(), beta.double(), validate_args=False)
        self.dtype = alpha.dtype
        super().__init__(alpha.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """w (2 alpha / (alpha + beta) - 1)."""
        mean: Tensor = BOX_HALF_WIDTH * (2 * self.exact.mean - 1)
        return mean.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        """(2 w)^2 Var b."""
        variance: Tensor = (2 * BOX_HALF_WIDTH) ** 2 * self.exact.variance
        return variance.to(self.dtype)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """Samples, at least a rounding error away from the edges of the box, where the density may be infinite."""
        margin = torch.finfo(self.dtype).eps
        unit = self.exact.rsample(sample_shape).clamp(margin, 1 - margin)
        return (BOX_HALF_WIDTH * (2 * unit - 1)).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        margin = torch.finfo(self.dtype).eps / 2
        unit = (0.5 * (value.double() / BOX_HALF_WIDTH + 1)).clamp(margin, 1 - margin)
        log_prob: Tensor = self.exact.log_prob(unit) - math.log(2 * BOX_HALF_WIDTH)
        return log_prob.to(self.dtype)

    def entropy(self) -> Tensor:
        entropy: Tensor = self.exact.entropy() + math.log(2 * BOX_HALF_WIDTH)
        return entropy.to(self.dtype)


def _kl_box_beta_uniform(q: BoxBeta, p: Uniform) -> Tensor:
    """KL = log(width of the box) - H(q), nats. The box of q and that of `prior=uniform` are the same."""
    return (p.high - p.low).log() - q.entropy()


register_kl(BoxBeta, Uniform)(_kl_box_beta_uniform)

"""Logistic distribution."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, StudentT, constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import softplus


class Logistic(Distribution):
    """p(z) = e^-u / (s (1 + e^-u)^2) with u = (z - m) / s. Variance pi^2 s^2 / 3, entropy log s + 2."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        mean: Tensor = self.loc
        return mean

    @property
    def variance(self) -> Tensor:
        variance: Tensor = (math.pi * self.scale).square() / 3
        return variance

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """z = m + s logit(u), with u uniform on (0, 1)."""
        u = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device)
        # u = 0 is replaced by half a step above it, so that both tails end at the same distance.
        draws: Tensor = self.loc + self.scale * u.logit(eps=torch.finfo(u.dtype).eps / 4)
        return draws

    def log_prob(self, value: Tensor) -> Tensor:
        u = ((value - self.loc) / self.scale).abs()  # the density is symmetric, and e^-|u| cannot overflow
        log_prob: Tensor = -u - 2 * softplus(-u) - self.scale.log()
        return log_prob

    def entropy(self) -> Tensor:
        entropy: Tensor = self.scale.log() + 2
        return entropy


def kl_from_normal(q: Distribution, p: Normal) -> Tensor:
    """KL(q || N(m, s^2)) = -H(q) + (Var q + (E q - m)^2) / 2 s^2 + log s + log(2 pi) / 2, nats."""
    squares = q.variance + (q.mean - p.mean).square()
    constant: Tensor = p.scale.log() + 0.5 * math.log(2 * math.pi)
    return squares / (2 * p.variance) + constant - q.entropy()


register_kl(Logistic, Normal)(kl_from_normal)
register_kl(StudentT, Normal)(kl_from_normal)

"""Continuous Bernoulli likelihood."""

import torch
from torch import Tensor
from torch.distributions import constraints

from latentbench.likelihoods.base import Likelihood, PixelDistribution, not_of_binary

# Half logits below which a series replaces differences of nearly equal numbers, and at which the other formula is
# computed instead, because it divides by 0.
SMALL = 0.1
NEGLIGIBLE = -80  # 1 - exp(-80) is 1; an exp() that underflows would take a hundred times as long


class ContinuousBernoulliPixels(PixelDistribution):
    """Independent pixels in [0, 1] with logits l = raw: log p(x) = sum x l - log Z(l), Z(l) = (exp(l) - 1) / l.

    This is the Bernoulli cross-entropy with the constant that makes it a density: p(x) is proportional to
    m^x (1 - m)^(1 - x), m = sigmoid(l).
    """

    support = constraints.unit_interval

    @property
    def mean(self) -> Tensor:
        """1 / (1 - exp(-l)) - 1 / l, which is not sigmoid(l)."""
        half = self.raw / 2
        far = torch.where(half.abs() < SMALL, SMALL, half)
        excess = torch.where(half.abs() < SMALL, half / 3 - half**3 / 45 + 2 * half**5 / 945, 1 / far.tanh() - 1 / far)
        return (1 + excess) / 2

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        logits = self.raw.detach().expand(self._extended_shape(torch.Size(sample_shape)))
        u, steepness = torch.rand_like(logits), -logits.abs()
        # The inverse of the distribution function for l < 0; for l > 0 it is 1 - x of -l.
        falling = torch.where(steepness > -1e-4, u, torch.log1p(u * steepness.expm1()) / steepness.clamp(max=-1e-4))
        return torch.where(logits > 0, 1 - falling, falling).clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels, as a density of pixel values in [0, 1]."""
        half = self.raw / 2
        far = half.abs().clamp(min=SMALL)
        log_sinhc = torch.where(
            half.abs() < SMALL,
            half**2 / 6 - half**4 / 180 + half**6 / 2835,
            far + torch.log1p(-torch.exp((-2 * far).clamp(min=NEGLIGIBLE))) - torch.log(2 * far),
        )
        return ((value - 0.5) * self.raw - log_sinhc).flatten(-3).sum(-1)


class ContinuousBernoulliLikelihood(Likelihood):
    """p(x|z) = prod Z(l)^-1 exp(x l), l = raw: a density of grey values in [0, 1].

    Source: Loaiza-Ganem & Cunningham 2019, equations 3 to 8 (there with m = sigmoid(l) as its parameter).
    """

    def forward(self, raw: Tensor) -> ContinuousBernoulliPixels:
        return ContinuousBernoulliPixels(raw)

    def not_a_density_of(self, *, binary: bool) -> str | None:
        return not_of_binary("a continuous Bernoulli likelihood is a density of grey values", binary=binary)

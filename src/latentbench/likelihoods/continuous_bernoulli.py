"""Continuous Bernoulli likelihood."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import constraints

from latentbench.likelihoods.base import Likelihood, PixelDistribution, not_of_binary

# Half logits below which a series replaces differences of nearly equal numbers, and at which the other formula is
# computed instead, because it divides by 0.
SMALL = 0.1
TINY = 1e-30  # in place of 0, which would be divided by 0
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
        per_pixel: Tensor = _LogDensity.apply(self.raw, value)  # type: ignore[no-untyped-call]
        return per_pixel.flatten(-3).sum(-1)


class _LogDensity(torch.autograd.Function):
    """x l - max(l, 0) - log((1 - exp(-|l|)) / |l|) of each pixel, and its gradient x - mean.

    Of an exponential family the gradient is known in advance, which takes half the time of automatic differentiation.
    There is none with respect to x.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, value: Tensor) -> Tensor:
        ctx.shape = raw.shape  # which one of x may be larger than
        size = raw.abs().clamp_(min=TINY)
        falling = size.neg().clamp_(min=NEGLIGIBLE).expm1_()  # exp(-|l|) - 1
        if ctx.needs_input_grad[0]:
            half = raw / 2
            square = half.square()
            excess = torch.where(  # 1 / tanh(l / 2) - 2 / l, twice the mean minus 1
                size < 2 * SMALL,
                half * (1 / 3 + square * (-1 / 45 + square * 2 / 945)),
                ((falling + 2) / falling).add_(2 / size).neg_().copysign_(half),
            )
            ctx.save_for_backward(torch.add(value - 0.5, excess, alpha=-0.5))
        log_share = falling.div_(size).neg_().log_()
        return (value * raw).sub_(raw.clamp(min=0)).sub_(log_share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (of_raw,) = ctx.saved_tensors
        return (gradients[0] * of_raw).sum_to_size(ctx.shape), None


class ContinuousBernoulliLikelihood(Likelihood):
    """p(x|z) = prod Z(l)^-1 exp(x l), l = raw: a density of grey values in [0, 1].

    Source: Loaiza-Ganem & Cunningham 2019, equations 3 to 8 (there with m = sigmoid(l) as its parameter).
    """

    def forward(self, raw: Tensor) -> ContinuousBernoulliPixels:
        return ContinuousBernoulliPixels(raw)

    def not_a_density_of(self, *, binary: bool) -> str | None:
        return not_of_binary("a continuous Bernoulli likelihood is a density of grey values", binary=binary)

"""Bernoulli pixels."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from latentbench.likelihoods.base import Likelihood, PixelDistribution


class BernoulliPixels(PixelDistribution):
    """Independent Bernoulli pixels with logits l: log p(x) = sum x l - softplus(l)."""

    @property
    def mean(self) -> Tensor:
        """Probability that a pixel is 1."""
        return self.raw.sigmoid()

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """0 or 1, (..., C, H, W)."""
        return torch.bernoulli(self.mean.detach().expand(self._extended_shape(torch.Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels; on grey values the usual cross-entropy, which is no log-probability."""
        return (value * self.raw - softplus(self.raw)).flatten(-3).sum(-1)


class BernoulliLikelihood(Likelihood):
    """p(x|z) = prod Bernoulli(x; sigmoid(raw)). Source: Kingma & Welling 2014, equation 11."""

    def forward(self, raw: Tensor) -> BernoulliPixels:
        """Distribution of the pixels."""
        return BernoulliPixels(raw)

    def not_a_density_of(self, *, binary: bool) -> str | None:
        """Grey values have no Bernoulli probability."""
        if binary:
            return None
        return (
            "a Bernoulli likelihood gives probability to 0 and 1 only and these pixels are grey: "
            "take data.binarize=dynamic (or threshold), or likelihood=gaussian"
        )

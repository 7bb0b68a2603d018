"""Bernoulli likelihood."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from latentbench.likelihoods.base import Likelihood, PixelDistribution


class BernoulliPixels(PixelDistribution):
    """Independent Bernoulli pixels with logits l = raw: log p(x) = sum x l - softplus(l)."""

    @property
    def mean(self) -> Tensor:
        """The probability that a pixel is 1."""
        return self.raw.sigmoid()

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        return torch.bernoulli(self.mean.detach().expand(self._extended_shape(torch.Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, summed over pixels. For grey values it is the usual cross-entropy, which is not a log-probability."""
        return (value * self.raw - softplus(self.raw)).flatten(-3).sum(-1)


class BernoulliLikelihood(Likelihood):
    """p(x|z) = prod Bernoulli(x; sigmoid(raw)). Source: Kingma & Welling 2014, equation 11."""

    def forward(self, raw: Tensor) -> BernoulliPixels:
        return BernoulliPixels(raw)

    def not_a_density_of(self, *, binary: bool) -> str | None:
        if binary:
            return None
        return (
            "a Bernoulli likelihood is for pixels that are 0 or 1, and these pixels are grey: "
            "take data.binarize=dynamic (or threshold), or likelihood=continuous_bernoulli"
        )

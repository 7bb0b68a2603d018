"""Distributions over groups of one-hot vectors."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints
from torch.distributions.kl import register_kl


class OneHot(Distribution):
    """G independent categorical variables of K classes, as concatenated one-hot vectors.

    log p(z) = sum_g log softmax(logits_g)[class of group g].
    Shape: logits (..., G, K), any real numbers; event shape (G * K,).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor) -> None:
        self.log_probs = logits.log_softmax(-1)
        super().__init__(logits.shape[:-2], torch.Size([logits.shape[-2] * logits.shape[-1]]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The class probabilities, (..., G * K)."""
        return self.log_probs.exp().flatten(-2)

    @property
    def variance(self) -> Tensor:
        """p (1 - p) for each class, (..., G * K)."""
        return self.mean * (1 - self.mean)

    @property
    def mode(self) -> Tensor:
        """The most probable code word, (..., G * K). NaN where the probabilities are NaN."""
        return self._one_hot(self.log_probs.argmax(-1)).where(self.mean.isfinite(), torch.nan)

    def _one_hot(self, classes: Tensor) -> Tensor:
        zeros = self.log_probs.new_zeros(*classes.shape, self.log_probs.shape[-1])
        return zeros.scatter_(-1, classes.unsqueeze(-1), 1).flatten(-2)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        return self._one_hot(Categorical(logits=self.log_probs, validate_args=False).sample(torch.Size(sample_shape)))

    def factor_log_prob(self, value: Tensor) -> Tensor:
        """log p(z_g) of each group, nats, (..., G)."""
        log_probs: Tensor = (value.unflatten(-1, self.log_probs.shape[-2:]) * self.log_probs).sum(-1)
        return log_probs

    def log_prob(self, value: Tensor) -> Tensor:
        return self.factor_log_prob(value).sum(-1)

    def factor_kl(self, other: "OneHot") -> Tensor:
        """KL(p_g || other_g) of each group, nats, (..., G)."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(-1)


class GumbelOneHot(OneHot):
    """OneHot with straight-through gradients: samples are one-hot, their gradients are those of a relaxation.

    The relaxation is s = softmax((logits + Gumbel noise) / temperature), and the sample is the one-hot vector of
    argmax s.
    Source: Jang et al. 2017, equations 1-2 and section 2.2 (straight-through Gumbel-softmax).
    """

    has_rsample = True

    def __init__(self, logits: Tensor, temperature: float) -> None:
        super().__init__(logits)
        self.temperature = temperature

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        soft = self.soft_sample(sample_shape)
        return self._one_hot(soft.argmax(-1)) + (soft - soft.detach()).flatten(-2)

    def soft_sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...]) -> Tensor:
        """Draws s of the relaxation, (..., G, K)."""
        shape = torch.Size(sample_shape) + self.log_probs.shape
        noise = -torch.empty(shape, dtype=self.log_probs.dtype, device=self.log_probs.device).exponential_().log()
        return ((self.log_probs + noise) / self.temperature).softmax(-1)


class RelaxedOneHot(GumbelOneHot):
    """OneHot whose draws with gradients are those of the relaxation: positive shares in place of one-hot vectors.

    Draws without gradients, densities and divergences are those of the one-hot vectors.
    Source: Jang et al. 2017, equations 1-2 (Gumbel-softmax).
    """

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        return self.soft_sample(sample_shape).flatten(-2)


def _kl_one_hot(q: OneHot, p: OneHot) -> Tensor:
    return q.factor_kl(p).sum(-1)


register_kl(OneHot, OneHot)(_kl_one_hot)

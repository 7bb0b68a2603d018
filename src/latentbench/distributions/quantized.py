"""Distributions over the entries of a codebook."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from latentbench.distributions.one_hot import OneHot


class CodebookEntries(Distribution):
    """A distribution over code words, where each code word is G concatenated vectors from a codebook.

    one_hot: distribution of the one-hot code words, G groups of K classes.
    Shape: codebook (G, K, d); event shape (G * d,).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, one_hot: OneHot, codebook: Tensor) -> None:
        self.one_hot = one_hot
        self.codebook = codebook
        groups, _, size = codebook.shape
        super().__init__(one_hot.batch_shape, torch.Size([groups * size]), validate_args=False)

    @property
    def variance(self) -> Tensor:
        weights = self.one_hot.mean.unflatten(-1, self.codebook.shape[:2])
        mean, square = (torch.einsum("...gk,gkd->...gd", weights, power) for power in (self.codebook, self.codebook**2))
        return (square - mean**2).clamp(min=0).flatten(-2)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        chosen = self.one_hot.sample(sample_shape).unflatten(-1, self.codebook.shape[:2])
        return torch.einsum("...gk,gkd->...gd", chosen, self.codebook).flatten(-2)


class Quantized(Distribution):
    """All mass on the codebook entries that are nearest to the encoder's vectors.

    A sample is the nearest entries. Its gradients go to `encoded` (straight-through).
    Shape: encoded (B, G, d), from the encoder; codebook (G, K, d); event shape (G * d,).
    Source: van den Oord et al. 2017, equations 1-2.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, encoded: Tensor, codebook: Tensor) -> None:
        self.encoded = encoded
        with torch.no_grad():
            self.classes = torch.cdist(encoded.transpose(0, 1), codebook).argmin(-1).T  # (B, G)
        self.nearest = codebook[torch.arange(len(codebook), device=codebook.device), self.classes]  # (B, G, d)
        super().__init__(encoded.shape[:1], torch.Size([encoded[0].numel()]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The nearest entries. NaN where the encoder's vectors are not finite."""
        return self.nearest.where(self.encoded.isfinite(), torch.nan).flatten(-2)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        # Added in this order, the values are exactly those of the entries, without a rounding error.
        entries = (self.nearest.detach() + (self.encoded - self.encoded.detach())).flatten(-2)
        return entries.expand(self._extended_shape(torch.Size(sample_shape)))


def _kl_quantized(q: Quantized, p: CodebookEntries) -> Tensor:
    """KL = -log p(code words), nats: G log K for a uniform prior (van den Oord et al. 2017, section 3.1)."""
    log_probs = p.one_hot.log_probs.expand(*q.classes.shape, -1)
    return -log_probs.gather(-1, q.classes[..., None]).sum((-1, -2))


register_kl(Quantized, CodebookEntries)(_kl_quantized)

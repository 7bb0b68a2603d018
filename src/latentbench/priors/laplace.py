"""Laplace prior."""

import math

import torch
from torch.distributions import Distribution, Independent, Laplace

from latentbench.priors.base import Encode, Prior


class LaplacePrior(Prior):
    """p(z) = prod_i exp(-|z_i| / b) / 2b with b = 1 / sqrt(2), so that every dimension has variance 1.

    The unit variance makes its scale comparable with N(0, I)'s.
    """

    zero: torch.Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.register_buffer("zero", torch.zeros(latent_size), persistent=False)

    def forward(self, encode: Encode | None) -> Distribution:
        """p(z), event shape (D,)."""
        scale = torch.full_like(self.zero, math.sqrt(0.5))
        return Independent(Laplace(self.zero, scale, validate_args=False), 1, validate_args=False)

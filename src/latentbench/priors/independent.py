"""Priors of independent coordinates of variance 1."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.distributions.factorised import Factorised
from latentbench.priors.base import Encode, Prior


class IndependentPrior(Prior):
    """p(z) = prod_j f(z_j), f of mean 0 and variance 1, which makes the scales of all such priors comparable."""

    is_factorised: ClassVar[bool] = True
    zero: Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.register_buffer("zero", torch.zeros(latent_size), persistent=False)

    def forward(self, encode: Encode | None) -> Factorised:
        """p(z), event shape (D,)."""
        return Factorised(self.factors(self.zero))

    @abstractmethod
    def factors(self, zero: Tensor) -> Distribution:
        """The family around `zero`, (D,), which has the dtype and the device."""

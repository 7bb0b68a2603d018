"""Priors with independent, identically distributed coordinates of variance 1."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.distributions.factorised import Factorised
from latentbench.priors.base import Encode, Prior


class IndependentPrior(Prior):
    """p(z) = prod_j f(z_j), where f has mean 0 and variance 1, so that the scales of all such priors are comparable.

    To add one, subclass IndependentPrior and implement `factors`.
    """

    is_factorised: ClassVar[bool] = True
    zero: Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.register_buffer("zero", torch.zeros(latent_size), persistent=False)

    def forward(self, encode: Encode | None) -> Factorised:
        return Factorised(self.factors(self.zero))

    @abstractmethod
    def factors(self, zero: Tensor) -> Distribution:
        """Return f for each coordinate, batch shape (D,). `zero` (D,) has the dtype and the device to use."""

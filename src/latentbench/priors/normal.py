"""Standard normal prior."""

import torch
from torch.distributions import Distribution, Independent, Normal

from latentbench.priors.base import Encode, Prior


class NormalPrior(Prior):
    """p(z) = N(0, I)."""

    zero: torch.Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.register_buffer("zero", torch.zeros(latent_size), persistent=False)

    def forward(self, encode: Encode | None) -> Distribution:
        """p(z), event shape (D,)."""
        scale = torch.ones_like(self.zero)
        return Independent(Normal(self.zero, scale, validate_args=False), 1, validate_args=False)

"""Uniform prior on the unit sphere."""

from typing import ClassVar

import torch
from torch import Tensor

from latentbench.distributions.hyperspherical_uniform import HypersphericalUniform
from latentbench.distributions.spaces import SPHERE, Space, slerp, slerp_midpoint
from latentbench.priors.base import Encode, Prior


class HyperspherePrior(Prior):
    """p(z) = 1 / area on the unit sphere S^d in R^(d+1), d = latent_size. Source: Davidson et al. 2018, section 3.1."""

    space: ClassVar[Space] = SPHERE
    zero: Tensor

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.coordinates = latent_size + 1
        self.register_buffer("zero", torch.zeros(self.coordinates), persistent=False)

    def forward(self, encode: Encode | None) -> HypersphericalUniform:
        return HypersphericalUniform(self.coordinates, like=self.zero)

    def midpoint(self, start: Tensor, end: Tensor) -> Tensor:
        """On the great circle through both."""
        return slerp_midpoint(start, end)

    def interpolate(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        return slerp(start, end, t)

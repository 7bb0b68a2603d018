"""Posteriors on the unit sphere with a direction and a concentration."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from latentbench.distributions.spaces import SPHERE, Space
from latentbench.posteriors.base import Posterior

HIGHEST_CONCENTRATION = 1e5  # beyond which single precision has no room for the spread


class DirectionalPosterior(Posterior):
    """q(z|x) on the sphere S^d in R^(d+1), d = latent_size, from a mean direction and a concentration.

    direction = raw / |raw|, concentration = 1 + softplus(raw); the authors' code keeps 1 as the least concentration,
    against collapse. Source: Davidson et al. 2018, section 3, and the code published with it.
    """

    space: ClassVar[Space] = SPHERE
    has_moments: ClassVar[bool] = False

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=latent_size + 1)
        self.inputs = self.coordinates + 1

    def forward(self, raw: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (latent_size + 1,)."""
        towards, concentration = raw[..., :-1], raw[..., -1]
        direction = torch.nn.functional.normalize(towards, dim=-1, eps=1e-6)
        return self.around(direction, (1 + softplus(concentration)).clamp(max=HIGHEST_CONCENTRATION))

    @abstractmethod
    def around(self, direction: Tensor, concentration: Tensor) -> Distribution:
        """The family: direction (B, d + 1) of length 1, concentration (B,)."""

    def point(self, q: Distribution) -> Tensor:
        """The mean direction: the mean itself lies inside the sphere."""
        return q.mode

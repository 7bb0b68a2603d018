"""Posteriors on the unit sphere with a direction and a concentration."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from latentbench.distributions.spaces import SPHERE, Space
from latentbench.posteriors.base import Posterior

MAX_CONCENTRATION = 1e5  # beyond it, single precision cannot represent the spread


class DirectionalPosterior(Posterior):
    """q(z|x) on the sphere S^d in R^(d+1), d = latent_size, with a mean direction and a concentration.

    direction = raw / |raw| over the first d + 1 numbers, concentration = 1 + softplus(raw) of the last one. As in the
    authors' code, the concentration is at least 1, which prevents posterior collapse.
    Source: Davidson et al. 2018, section 3, and the code published with it.
    """

    space: ClassVar[Space] = SPHERE
    has_moments: ClassVar[bool] = False

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=latent_size + 1)
        self.inputs = self.coordinates + 1

    def forward(self, raw: Tensor) -> Distribution:
        raw_direction, raw_concentration = raw[..., :-1], raw[..., -1]
        direction = torch.nn.functional.normalize(raw_direction, dim=-1, eps=1e-6)
        return self.distribution(direction, (1 + softplus(raw_concentration)).clamp(max=MAX_CONCENTRATION))

    @abstractmethod
    def distribution(self, direction: Tensor, concentration: Tensor) -> Distribution:
        """Return the distribution for unit vectors `direction` (B, d + 1) and a concentration (B,)."""

    def point_estimate(self, q: Distribution) -> Tensor:
        """The mean direction, since the mean itself lies inside the sphere."""
        return q.mode

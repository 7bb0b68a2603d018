"""Posteriors with independent coordinates that have a location and a scale each."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from latentbench.distributions.factorised import Factorised
from latentbench.posteriors.base import Posterior


class LocationScalePosterior(Posterior):
    """q(z|x) = prod_j f((z_j - m_j(x)) / s_j(x)) / s_j(x).

    To add one, subclass LocationScalePosterior and implement `factors`. log s is clamped to [-10, 10], so that no
    scale under- or overflows in single precision.
    """

    is_factorised: ClassVar[bool] = True
    per_coordinate: ClassVar[int] = 2

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        self.inputs = 2 * coordinates

    def forward(self, raw: Tensor) -> Factorised:
        location, log_scale = raw.chunk(2, dim=-1)
        return Factorised(self.factors(location, log_scale.clamp(-10, 10).exp()))

    @abstractmethod
    def factors(self, location: Tensor, scale: Tensor) -> Distribution:
        """Return the distributions of the coordinates, batch shape (B, D), for location and scale (B, D)."""

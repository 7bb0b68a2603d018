"""Deterministic encoder."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from latentbench.posteriors.base import Posterior


class Dirac(Distribution):
    """All mass on one point: sampling returns it, and there is no density."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, point: Tensor) -> None:
        self.point = point
        super().__init__(point.shape[:-1], point.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.point

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """The point, repeated."""
        return self.point.expand(self._extended_shape(torch.Size(sample_shape)))


class DiracPosterior(Posterior):
    """q(z|x) = delta(z - mu(x)). Source: Tolstikhin et al. 2018, section 2 (a deterministic encoder)."""

    has_density = False

    def __init__(self, *, features: int, latent_size: int) -> None:
        super().__init__(features=features, latent_size=latent_size)
        self.head = nn.Linear(features, latent_size)

    def forward(self, h: Tensor) -> Dirac:
        """q(z|x), batch shape (B,), event shape (D,)."""
        return Dirac(self.head(h))

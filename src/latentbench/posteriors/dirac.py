"""Deterministic encoder."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from latentbench.posteriors.base import Posterior


class Dirac(Distribution):
    """All mass on one point. Samples are this point, and there is no density."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, point: Tensor) -> None:
        self.point = point
        super().__init__(point.shape[:-1], point.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.point

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        return self.point.expand(self._extended_shape(torch.Size(sample_shape)))


class DiracPosterior(Posterior):
    """q(z|x) = delta(z - m(x)). Source: Tolstikhin et al. 2018, section 2 (a deterministic encoder)."""

    has_density: ClassVar[bool] = False
    per_coordinate: ClassVar[int] = 1
    has_moments: ClassVar[bool] = False

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        self.inputs = coordinates

    def forward(self, raw: Tensor) -> Dirac:
        return Dirac(raw)

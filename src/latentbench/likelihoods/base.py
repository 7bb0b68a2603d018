"""The contract of a likelihood: what the decoder's raw output says about the pixels."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution, constraints


class PixelDistribution(Distribution):
    """p(x|z): batch shape (..., B), event shape (C, H, W); `mean` is the image that is shown."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, raw: Tensor) -> None:
        self.raw = raw
        super().__init__(raw.shape[:-3], raw.shape[-3:], validate_args=False)


class Likelihood(nn.Module, ABC):
    """forward(raw: (..., B, C, H, W)) -> p(x|z)."""

    @abstractmethod
    def forward(self, raw: Tensor) -> PixelDistribution:
        """Distribution of the pixels."""

    @abstractmethod
    def not_a_density_of(self, *, binary: bool) -> str | None:
        """Why p(x|z) is no density of these pixels (0 or 1 if `binary`, else grey); None if it is one."""

    def facts(self) -> dict[str, Any]:
        """What training settled about it, for the record."""
        return {}

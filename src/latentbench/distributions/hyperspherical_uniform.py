"""Uniform distribution on the unit sphere S^{m-1} in R^m, and helpers for densities around an axis of the sphere."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import normalize


def log_area(dim: int) -> float:
    """Logarithm of the area of S^{m-1}: log 2 + m/2 log(pi) - log Gamma(m/2)."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def random_directions(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniformly distributed unit vectors along the last axis of `shape`: normalized Gaussian vectors."""
    return normalize(torch.randn(shape, dtype=like.dtype, device=like.device), dim=-1)


def around_axis(axis: Tensor, y: Tensor) -> Tensor:
    """Unit vectors z with axis.z = tanh(y), whose component orthogonal to the axis has a uniform direction.

    w = (tanh y, v / cosh y), with v uniform on S^{m-2}, is such a vector around e1. The map
    z = s (2 u (u.w) / (u.u) - w) with u = e1 + s axis takes e1 to the axis. Here s is the sign of the first coordinate
    of the axis, so that u.u >= 2. Unlike the usual reflection along e1 - axis, this never divides by zero, not even at
    axis = e1, and its gradients are bounded everywhere.
    Shape: axis (..., m), y (S, ...); result (S, ..., m).
    """
    v = random_directions((*y.shape, axis.shape[-1] - 1), like=y)
    w = torch.cat([y.tanh().unsqueeze(-1), v / y.cosh().unsqueeze(-1)], -1)
    sign = torch.where(axis[..., :1] > 0, 1.0, -1.0).to(axis.dtype)
    u = torch.cat([sign * axis[..., :1] + 1, sign * axis[..., 1:]], -1)
    shares = 2 * (u * w).sum(-1, keepdim=True) / u.square().sum(-1, keepdim=True)
    return sign * (u * shares - w)


class HypersphericalUniform(Distribution):
    """p(z) = Gamma(m/2) / (2 pi^{m/2}) on S^{m-1}. Source: Davidson et al. 2018 (S-VAE), section 3.1.

    Samples have the device and the dtype of `like`.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, dim: int, *, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), torch.Size([dim]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The centre of the sphere, which is not on the sphere."""
        return self.like.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        """1/m for each coordinate, since their squares add up to 1."""
        return self.like.new_full(self.event_shape, 1 / self.event_shape[0])

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        return random_directions(self._extended_shape(torch.Size(sample_shape)), like=self.like)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log area, a constant. Shape: (..., m) -> (...)."""
        return value.new_full(value.shape[:-1], -log_area(self.event_shape[0]))

    def entropy(self) -> Tensor:
        return self.like.new_full((), log_area(self.event_shape[0]))

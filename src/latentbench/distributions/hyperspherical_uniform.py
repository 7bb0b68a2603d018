"""Uniform on the unit sphere S^{m-1} of R^m, and what every density around an axis of it needs."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import normalize


def log_area(dim: int) -> float:
    """log of the area of S^{m-1}: log 2 + m/2 log(pi) - log Gamma(m/2)."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def random_directions(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform unit vectors along the last axis of the shape: normalised Gaussians."""
    return normalize(torch.randn(shape, dtype=like.dtype, device=like.device), dim=-1)


def around_axis(axis: Tensor, y: Tensor) -> Tensor:
    """z with axis.z = tanh(y) and the rest of it in a uniform direction; axis (..., m), y (S, ...), z (S, ..., m).

    w = (tanh y, v / cosh y) is such a vector around e1, v uniform on S^{m-2}, and z = s (2 u (u.w) / (u.u) - w) with
    u = e1 + s axis takes e1 to the axis. With s the sign of the axis' first coordinate, u.u >= 2: unlike the usual
    reflection along e1 - axis, no division by zero at axis = e1, and gradients bounded everywhere.
    """
    v = random_directions((*y.shape, axis.shape[-1] - 1), like=y)
    w = torch.cat([y.tanh().unsqueeze(-1), v / y.cosh().unsqueeze(-1)], -1)
    sign = torch.where(axis[..., :1] > 0, 1.0, -1.0).to(axis.dtype)
    u = torch.cat([sign * axis[..., :1] + 1, sign * axis[..., 1:]], -1)
    shares = 2 * (u * w).sum(-1, keepdim=True) / u.square().sum(-1, keepdim=True)
    return sign * (u * shares - w)


class HypersphericalUniform(Distribution):
    """p(z) = Gamma(m/2) / (2 pi^{m/2}) on S^{m-1}. Source: Davidson et al. 2018 (S-VAE), section 3.1.

    Draws have the device and the type of `like`.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, dim: int, *, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), torch.Size([dim]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The centre, which no draw is near."""
        return self.like.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        """1/m of each coordinate: their squares add up to 1."""
        return self.like.new_full(self.event_shape, 1 / self.event_shape[0])

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """(S, m)."""
        return random_directions(self._extended_shape(torch.Size(sample_shape)), like=self.like)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log area, the same everywhere: (..., m) -> (...)."""
        return value.new_full(value.shape[:-1], -log_area(self.event_shape[0]))

    def entropy(self) -> Tensor:
        """log area, a scalar."""
        return self.like.new_tensor(log_area(self.event_shape[0]))

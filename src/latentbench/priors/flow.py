"""Normalizing flow as a prior."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform
from zuko.utils import unpack

from latentbench.distributions.flow import Autoregressive, AutoregressiveMap, Elementwise, checked
from latentbench.errors import UserError
from latentbench.priors.base import Encode, Prior

Distribution.set_default_validate_args(__debug__)  # torch's own default, which importing zuko turns off for everyone


def _of_zuko(transform: Callable[..., Any], shapes: list[tuple[int, ...]]) -> Elementwise:
    return Elementwise(
        sum(map(math.prod, shapes)),
        lambda x, theta: transform(*unpack(theta, shapes)).call_and_ladj(x),
        lambda y, theta: transform(*unpack(theta, shapes)).inv(y),
    )


BINS = 8  # of a spline, which has a width and a height for each and a slope at each inner knot
TRANSFORMS = {
    "affine": _of_zuko(MonotonicAffineTransform, [(), ()]),
    "spline": _of_zuko(MonotonicRQSTransform, [(BINS,), (BINS,), (BINS - 1,)]),
}


class Flow(Distribution):
    """p(z) = N(e; 0, I) |det de/dz| with e = f_T(... f_1((z - shift) / scale)), maps f with one pass from z to e."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, shift: Tensor, log_scale: Tensor, maps: Sequence[AutoregressiveMap]) -> None:
        self.shift = shift
        self.log_scale = log_scale
        self.maps = maps
        super().__init__(event_shape=shift.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats."""
        e = (value - self.shift) * (-self.log_scale).exp()
        log_slopes = -self.log_scale
        for one in self.maps:
            e, more = one(e)
            log_slopes = log_slopes + more
        return (log_slopes - 0.5 * e.square() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, which take D passes."""
        shape = self._extended_shape(torch.Size(sample_shape))
        e = torch.randn(shape, dtype=self.shift.dtype, device=self.shift.device)
        for one in reversed(self.maps):
            e = one.inverse(e)
        return self.shift + self.log_scale.exp() * e


class FlowPrior(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz|, f a shift and a scale and then T autoregressive maps in alternating orders.

    transform=affine: y_i = e^a_i x_i + b_i, |a_i| < 6.9 (MAF). Source: Papamakarios et al. 2017, equations 4 and 5; the
    learned shift and scale, one for the whole flow, stand in for their batch normalization between maps.
    transform=spline: y_i is a rational-quadratic spline of x_i with 8 bins in [-5, 5], and x_i itself outside (NSF).
    Source: Durkan et al. 2019, section 3.1. Splines alone would leave a standard normal outside of this box; the
    learned shift and scale put the box where the codes are, and codes outside of it pull at them.
    """

    has_rsample: ClassVar[bool] = True

    def __init__(
        self, *, latent_size: int, shape: tuple[int, int, int], transform: str, transforms: int, hidden: Sequence[int]
    ) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        if transform not in TRANSFORMS:
            raise UserError(f"prior.transform={transform}: there are {' and '.join(TRANSFORMS)}")
        checked("prior", transforms, hidden)
        self.shift = nn.Parameter(torch.zeros(latent_size))
        self.log_scale = nn.Parameter(torch.zeros(latent_size))
        self.maps = nn.ModuleList(
            Autoregressive(
                TRANSFORMS[transform],
                coordinates=latent_size,
                context=0,
                hidden=hidden,
                is_reversed=step % 2 == 1,
            )
            for step in range(transforms)
        )

    def forward(self, encode: Encode | None) -> Flow:
        """p(z), event shape (D,)."""
        return Flow(self.shift, self.log_scale.clamp(-10, 10), [one(None) for one in self.maps])

"""Learned normalizing flow prior."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from latentbench.distributions.flow import Autoregressive, AutoregressiveMap, Elementwise, check_flow_settings
from latentbench.errors import UserError
from latentbench.priors.base import Encode, Prior


def import_zuko() -> Any:
    """Import zuko and restore torch's default for checking distribution arguments, which zuko turns off globally."""
    validate_args = Distribution._validate_args
    try:
        import zuko
    finally:
        Distribution.set_default_validate_args(validate_args)
    return zuko


def _elementwise(name: str, shapes: list[tuple[int, ...]]) -> Elementwise:
    """A transform of zuko as a function of one coordinate. shapes: of its arguments, per coordinate."""
    zuko = import_zuko()
    transform, unpack = getattr(zuko.transforms, name), zuko.utils.unpack
    return Elementwise(
        sum(map(math.prod, shapes)),
        lambda x, theta: transform(*unpack(theta, shapes)).call_and_ladj(x),
        lambda y, theta: transform(*unpack(theta, shapes)).inv(y),
    )


BINS = 8  # per spline; a spline has a width and a height for each bin and a slope at each inner knot
TRANSFORMS: dict[str, Callable[[], Elementwise]] = {
    "affine": partial(_elementwise, "MonotonicAffineTransform", [(), ()]),
    "spline": partial(_elementwise, "MonotonicRQSTransform", [(BINS,), (BINS,), (BINS - 1,)]),
}


class Flow(Distribution):
    """p(z) = N(e; 0, I) |det de/dz| with e = f_T(... f_1((z - shift) / scale)).

    The density takes one pass through each map, a sample D passes. Shape: shift and log_scale (D,).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, shift: Tensor, log_scale: Tensor, maps: Sequence[AutoregressiveMap]) -> None:
        self.shift = shift
        self.log_scale = log_scale
        self.maps = maps
        super().__init__(event_shape=shift.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        e = (value - self.shift) * (-self.log_scale).exp()
        log_slopes = -self.log_scale
        for one_map in self.maps:
            e, log_slope = one_map(e)
            log_slopes = log_slopes + log_slope
        return (log_slopes - 0.5 * e.square() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(torch.Size(sample_shape))
        e = torch.randn(shape, dtype=self.shift.dtype, device=self.shift.device)
        for one_map in reversed(self.maps):
            e = one_map.inverse(e)
        return self.shift + self.log_scale.exp() * e


class FlowPrior(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz|, where f is a learned shift and scale, then T autoregressive maps.

    The maps alternate between the two orders of the coordinates.
    transform=affine: y_i = e^a_i x_i + b_i with |a_i| < 6.9 (MAF). Source: Papamakarios et al. 2017, equations 4-5. The
    learned shift and scale, one for the whole flow, replace the paper's batch normalization between maps.
    transform=spline: y_i is a rational-quadratic spline of x_i with 8 bins in [-5, 5], and x_i itself outside (NSF).
    Source: Durkan et al. 2019, section 3.1. Outside of this box, splines alone would leave a standard normal. The
    learned shift and scale move the box to where the codes are, since codes outside of the box give them gradients.
    """

    has_rsample: ClassVar[bool] = True

    def __init__(
        self, *, latent_size: int, shape: tuple[int, int, int], transform: str, transforms: int, hidden: Sequence[int]
    ) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        if transform not in TRANSFORMS:
            raise UserError(f"prior.transform={transform}: choose one of {', '.join(TRANSFORMS)}")
        check_flow_settings("prior", transforms, hidden)
        elementwise = TRANSFORMS[transform]()
        self.shift = nn.Parameter(torch.zeros(latent_size))
        self.log_scale = nn.Parameter(torch.zeros(latent_size))
        self.maps = nn.ModuleList(
            Autoregressive(elementwise, coordinates=latent_size, context=0, hidden=hidden, is_reversed=step % 2 == 1)
            for step in range(transforms)
        )

    def forward(self, encode: Encode | None) -> Flow:
        return Flow(self.shift, self.log_scale.clamp(-10, 10), [one_map(None) for one_map in self.maps])

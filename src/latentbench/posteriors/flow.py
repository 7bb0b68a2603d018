"""Inverse autoregressive flow as a posterior."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from latentbench.distributions.flow import Autoregressive, AutoregressiveMap, Elementwise, checked
from latentbench.errors import UserError
from latentbench.posteriors.base import Posterior


def _log_gate(s: Tensor) -> Tensor:
    # The paper starts s at 1 or 2; the floor keeps a gate that is shut from making the inverse infinite.
    return logsigmoid(s + 2).clamp(min=-10)


def _gated(x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    m, s = theta.unbind(-1)
    log_gate = _log_gate(s)
    return torch.lerp(m, x, log_gate.exp()), log_gate


def _ungated(y: Tensor, theta: Tensor) -> Tensor:
    m, s = theta.unbind(-1)
    return m + (y - m) * (-_log_gate(s)).exp()


GATE = Elementwise(2, _gated, _ungated)


class InverseAutoregressiveFlow(Distribution):
    """q(z) of z = f_T(... f_1(z_0)), z_0 ~ N(m, diag(s^2)), maps f with one pass from z_0 to z.

    Shapes: m and log s (..., D). A draw and the density of the last draw take one pass, other points' densities D.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, mean: Tensor, log_scale: Tensor, maps: Sequence[AutoregressiveMap]) -> None:
        self.base_mean = mean
        self.base_log_scale = log_scale
        self.maps = maps
        self._last: tuple[Tensor, Tensor, bool] | None = None
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    def moved(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """z and log dz_i/dz_0i, summed over maps, for z_0; all (..., D)."""
        z, log_slopes = start, torch.zeros_like(start)
        for one in self.maps:
            z, more = one(z)
            log_slopes = log_slopes + more
        return z, log_slopes

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, whose density is kept."""
        shape = self._extended_shape(torch.Size(sample_shape))
        e = torch.randn(shape, dtype=self.base_mean.dtype, device=self.base_mean.device)
        z, log_slopes = self.moved(self.base_mean + self.base_log_scale.exp() * e)
        self._last = z, self._log_prob(e, log_slopes), torch.is_grad_enabled()
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats."""
        if self._last is not None:
            draw, log_prob, has_gradients = self._last
            # What was drawn without gradients is, for a density that needs some, a point like any other.
            if value is draw and (has_gradients or not torch.is_grad_enabled()):
                return log_prob
        start = value
        for one in reversed(self.maps):
            start = one.inverse(start)
        e = (start - self.base_mean) * (-self.base_log_scale).exp()
        return self._log_prob(e, self.moved(start)[1])

    def _log_prob(self, e: Tensor, log_slopes: Tensor) -> Tensor:
        return -(0.5 * e.square() + 0.5 * math.log(2 * math.pi) + self.base_log_scale + log_slopes).sum(-1)


class FlowPosterior(Posterior):
    """z_t = g_t z_t-1 + (1 - g_t) m_t, t = 1..T, g_t = sigmoid(s_t); z_0 ~ N(m(x), diag(s(x)^2)).

    m_t and s_t of a coordinate are made of the coordinates of z_t-1 that come before it and of a context h(x) of the
    encoder's; the order is reversed from step to step.
    Source: Kingma et al. 2016, algorithm 1. log s and log g_t are kept above -10, and log s below 10.
    """

    has_moments: ClassVar[bool] = False

    def __init__(
        self, *, latent_size: int, coordinates: int, transforms: int, hidden: Sequence[int], context: int
    ) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        checked("posterior", transforms, hidden)
        if type(context) is not int or context < 1:
            raise UserError(f"posterior.context={context}: numbers of context are a whole number, 1 or more")
        self.context = context
        self.inputs = 2 * coordinates + context
        self.maps = nn.ModuleList(
            Autoregressive(GATE, coordinates=coordinates, context=context, hidden=hidden, is_reversed=step % 2 == 1)
            for step in range(transforms)
        )

    def forward(self, raw: Tensor) -> InverseAutoregressiveFlow:
        """q(z|x), batch shape (B,), event shape (D,)."""
        mean, log_scale, context = raw.split([self.coordinates, self.coordinates, self.context], dim=-1)
        maps = [one(context) for one in self.maps]
        return InverseAutoregressiveFlow(mean, log_scale.clamp(-10, 10), maps)

    def point(self, q: Distribution) -> Tensor:
        """Where the flow takes the mean of z_0, (B, D): q's own mean has no closed form."""
        assert isinstance(q, InverseAutoregressiveFlow)
        return q.moved(q.base_mean)[0]

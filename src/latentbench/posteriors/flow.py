"""Inverse autoregressive flow posterior."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from latentbench.distributions.flow import Autoregressive, AutoregressiveMap, Elementwise, check_flow_settings
from latentbench.errors import check_whole_number
from latentbench.posteriors.base import Posterior


def _log_gate(s: Tensor) -> Tensor:
    # As in the paper, s starts at about 2. The lower bound keeps the inverse finite when a gate is closed.
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
    """z = f_T(... f_1(z_0)) with z_0 ~ N(m, diag(s^2)).

    Sampling takes one pass through each map. The density of the last draw is stored with it; the density of any other
    point takes D passes.
    Shape: m and log s (..., D).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, mean: Tensor, log_scale: Tensor, maps: Sequence[AutoregressiveMap]) -> None:
        self.base_mean = mean
        self.base_log_scale = log_scale
        self.maps = maps
        self._last: tuple[Tensor, Tensor, bool] | None = None  # z, log q(z), and whether they carry gradients
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)

    def transform(self, z_0: Tensor) -> tuple[Tensor, Tensor]:
        """z and the sum over maps of the log derivatives log df(x)_i/dx_i. Shape: all (..., D)."""
        z, log_slopes = z_0, torch.zeros_like(z_0)
        for one_map in self.maps:
            z, log_slope = one_map(z)
            log_slopes = log_slopes + log_slope
        return z, log_slopes

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(torch.Size(sample_shape))
        e = torch.randn(shape, dtype=self.base_mean.dtype, device=self.base_mean.device)
        z, log_slopes = self.transform(self.base_mean + self.base_log_scale.exp() * e)
        self._last = z, self._log_prob(e, log_slopes), torch.is_grad_enabled()
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._last is not None:
            draw, log_prob, has_gradients = self._last
            # If z was drawn without gradients but the density needs them, z is treated like any other point.
            if value is draw and (has_gradients or not torch.is_grad_enabled()):
                return log_prob
        z_0 = value
        for one_map in reversed(self.maps):
            z_0 = one_map.inverse(z_0)
        e = (z_0 - self.base_mean) * (-self.base_log_scale).exp()
        return self._log_prob(e, self.transform(z_0)[1])

    def _log_prob(self, e: Tensor, log_slopes: Tensor) -> Tensor:
        return -(0.5 * e.square() + 0.5 * math.log(2 * math.pi) + self.base_log_scale + log_slopes).sum(-1)


class FlowPosterior(Posterior):
    """z_t = g_t z_t-1 + (1 - g_t) m_t for t = 1..T, with gates g_t = sigmoid(s_t) and z_0 ~ N(m(x), diag(s(x)^2)).

    For each coordinate, m_t and s_t are functions of the coordinates of z_t-1 before it and of a context h(x) from the
    encoder. The order of the coordinates is reversed from step to step.
    Source: Kingma et al. 2016, algorithm 1. We clamp log s to [-10, 10] and log g_t to at least -10.
    """

    has_moments: ClassVar[bool] = False

    def __init__(
        self, *, latent_size: int, coordinates: int, transforms: int, hidden: Sequence[int], context: int
    ) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        check_flow_settings("posterior", transforms, hidden)
        self.context = check_whole_number("posterior.context", context, minimum=1)
        self.inputs = 2 * coordinates + context
        self.maps = nn.ModuleList(
            Autoregressive(GATE, coordinates=coordinates, context=context, hidden=hidden, is_reversed=step % 2 == 1)
            for step in range(transforms)
        )

    def forward(self, raw: Tensor) -> InverseAutoregressiveFlow:
        mean, log_scale, context = raw.split([self.coordinates, self.coordinates, self.context], dim=-1)
        maps = [one_map(context) for one_map in self.maps]
        return InverseAutoregressiveFlow(mean, log_scale.clamp(-10, 10), maps)

    def point_estimate(self, q: Distribution) -> Tensor:
        """The transformed mean of z_0, (B, D), since the mean of q has no closed form."""
        assert isinstance(q, InverseAutoregressiveFlow)
        return q.transform(q.base_mean)[0]

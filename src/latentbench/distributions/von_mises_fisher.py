"""Von Mises-Fisher distribution with exact density, samples and gradients."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from latentbench.distributions.hyperspherical_uniform import HypersphericalUniform, around_axis, log_area

# With this many terms, the expansion is exact up to rounding (1e-12) for orders of at least MIN_ORDER.
TERMS = 10
MIN_ORDER = 15
# A candidate is accepted with probability 0.65 or more, so all four are rejected in at most one of 65 draws.
CANDIDATES = 4
NODES = 64  # number of quadrature nodes


@lru_cache
def olver_series(order: float) -> list[float]:
    """Coefficients of sum_k U_k(p) / order^k as one polynomial in p. Source: DLMF 10.41.9."""
    u = [Fraction(1)]
    total = [0.0] * (3 * TERMS + 1)
    for term in range(TERMS + 1):
        for power, c in enumerate(u):
            total[power] += float(c) / order**term
        following = [Fraction(0)] * (len(u) + 3)
        for power, c in enumerate(u):  # p^2 (1 - p^2) U' / 2 + integral of (1 - 5 p^2) U / 8
            following[power + 1] += c * Fraction(power, 2) + c / (8 * (power + 1))
            following[power + 3] -= c * Fraction(power, 2) + 5 * c / (8 * (power + 3))
        u = following
    return total


def log_bessel(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """log(I_order(x) e^{-x} x^{-order}) and I_{order+1}(x) / I_order(x), float64. Both are smooth at x = 0.

    Olver's expansion for large orders (DLMF 10.41.3) gives the values for two neighbouring orders. The recurrence
    I_{n-1} = I_{n+1} + 2 n / x I_n then leads down to `order`. Errors shrink in this direction.
    """
    steps = max(0, math.ceil(MIN_ORDER - order))
    orders = x.new_tensor([order + steps, order + steps + 1])
    series = x.new_tensor([olver_series(order + steps), olver_series(order + steps + 1)])
    x = x.unsqueeze(-1)
    root = torch.hypot(x, orders)
    powers = (orders / root).unsqueeze(-1) ** torch.arange(series.shape[-1], device=x.device)
    logs = orders.square() / (root + x) - orders * (orders + root).log() - 0.5 * (2 * math.pi * root).log()
    logs = logs + (powers * series).sum(-1).log()
    squared, x = x.squeeze(-1).square(), x.squeeze(-1)
    ratio = (logs[..., 0] - logs[..., 1]).exp()  # x I_n / I_{n+1}
    ratios = []
    for n in range(steps, 0, -1):
        ratio = 2 * (order + n) + squared / ratio
        ratios.append(ratio)
    log_ratios = torch.stack(ratios).log().sum(0) if ratios else 0.0
    return logs[..., 0] + log_ratios, x / ratio


def mode(kappa: Tensor, a: int) -> Tensor:
    """t* = tanh(y*) at the mode y* of the density of `draw`: the solution of kappa (1 - t*^2) = a t*."""
    return 2 * kappa / (a + (a**2 + 4 * kappa.square()).sqrt())


def draw(kappa: Tensor, a: int) -> Tensor:
    """Draw y = atanh(axis.z), whose density is proportional to exp(kappa tanh y) / cosh(y)^a with a = m - 1.

    Rejection sampling: a candidate is y* + l, where l = atanh(tau) has a density proportional to cosh(l)^{-a}, that
    is, (1 + tau) / 2 ~ Beta(a/2, a/2). It is accepted with probability exp(-a (log q + 1/q - 1)), q = 1 + t* tau.
    Shape: (n,) -> (n,).
    Source: the rejection sampler of Wood 1994, written in y.
    """
    y, pending = torch.empty_like(kappa), torch.arange(len(kappa), device=kappa.device)
    while len(pending):
        peak = mode(kappa[pending], a).unsqueeze(-1)
        uniform, radius, angle = torch.rand((3, len(pending), CANDIDATES), dtype=kappa.dtype, device=kappa.device)
        # Ulrich 1984: two coordinates of a uniform point on S^a have a squared radius ~ Beta(1, (a - 1)/2).
        outside = (radius.log() * (2 / (a - 1) if a > 1 else math.inf)).exp()
        angle = 2 * math.pi * angle
        tau = (1 - outside).sqrt() * angle.cos()
        complement = outside + (1 - outside) * angle.sin().square()  # 1 - tau^2 without cancellation
        steps = torch.asinh(tau / complement.clamp(min=1e-300).sqrt())
        q = 1 + peak * tau
        # Negating the rejection test accepts NaN, so that diverged training fails instead of looping for ever here.
        accepted = ~(uniform.log() > -a * (q.log() + 1 / q - 1))
        first = accepted.int().argmax(-1, keepdim=True)
        any_accepted = accepted.any(-1)
        candidates = (torch.atanh(peak) + steps).gather(-1, first).squeeze(-1)
        y[pending[any_accepted]] = candidates[any_accepted]
        pending = pending[~any_accepted]
    return y


@lru_cache
def quadrature(a: int) -> tuple[list[float], list[float]]:
    """Gauss-Legendre nodes and weights on [0, L]. At a distance of L, a tail has fallen below e^{-35} of its start."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    length = 35 / a + math.log1p(math.sqrt(-math.expm1(-70 / a)))  # arccosh(e^{35 / a})
    return (length * (nodes + 1) / 2).tolist(), (length * weights / 2).tolist()


def log_cosh(y: Tensor) -> Tensor:
    """log cosh(y) + log 2, without overflow."""
    return y.abs() + torch.log1p(torch.exp(-2 * y.abs()))


def implicit_gradient(y: Tensor, kappa: Tensor, mean: Tensor, a: int) -> Tensor:
    """dy/dkappa = -int_{-inf}^y (tanh s - mean) f(s) ds / f(y), at a fixed value of the distribution function.

    The integral over the whole line is 0. Beyond the mode we therefore integrate over the other tail, where the
    integrand does not grow.
    Source: Figurnov et al. 2018, equation 5.
    """
    nodes, weights = (y.new_tensor(numbers) for numbers in quadrature(a))
    side = torch.where(y.tanh() >= mode(kappa, a), 1.0, -1.0).to(y.dtype)
    y, kappa, mean = y.unsqueeze(-1), kappa.unsqueeze(-1), mean.unsqueeze(-1)
    s = y + side.unsqueeze(-1) * nodes
    t = s.tanh()
    log_ratio = kappa * (t - y.tanh()) - a * (log_cosh(s) - log_cosh(y))
    return side * (((t - mean) * log_ratio.exp()) @ weights)


class VonMisesFisher(Distribution):
    """log q(z) = kappa loc.z + log C(kappa), C = kappa^{m/2-1} / ((2 pi)^{m/2} I_{m/2-1}(kappa)), on S^{m-1}.

    Shape: loc (..., m), unit vectors; concentration (...), kappa >= 0.
    Source: Davidson et al. 2018 (S-VAE), section 3.1.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(batch + loc.shape[-1:])
        self.concentration = concentration.expand(batch)
        dim = loc.shape[-1]
        self._kappa = self.concentration.double()
        log_bessels, self._mean_length = log_bessel(dim / 2 - 1, self._kappa)
        # log C + kappa, which grows only like log(kappa).
        self._log_scaled = -dim / 2 * math.log(2 * math.pi) - log_bessels
        super().__init__(batch, loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """A(kappa) loc with A(kappa) = I_{m/2}(kappa) / I_{m/2-1}(kappa)."""
        return self._mean_length.to(self.loc.dtype).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """Samples (S, ..., m). Gradients to kappa are implicit, those to loc go through the rotation."""
        shape = self._extended_shape(torch.Size(sample_shape))
        a = shape[-1] - 1
        kappa = self._kappa.expand(shape[:-1])
        fixed = kappa.detach()
        y = draw(fixed.reshape(-1), a).reshape(fixed.shape)
        if torch.is_grad_enabled() and kappa.requires_grad:
            y = y + (kappa - fixed) * implicit_gradient(y, fixed, self._mean_length.detach().expand(fixed.shape), a)
        return around_axis(self.loc.double(), y).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        # loc.z - 1 = -|z - loc|^2 / 2. Computing loc.z itself would multiply the rounding errors in the lengths of z
        # and loc by kappa.
        from_mode = -0.5 * (value.double() - self.loc.double()).square().sum(-1)
        return (self._kappa * from_mode + self._log_scaled).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        """-kappa A(kappa) - log C(kappa), nats, (...)."""
        return (self._kappa * (1 - self._mean_length) - self._log_scaled).to(self.loc.dtype)


def kl_from_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    """KL(q || uniform) = kappa A(kappa) + log C(kappa) + log area, nats. Source: Davidson et al. 2018, section 3.2."""
    below_mode = q._kappa * (1 - q._mean_length)
    return (q._log_scaled - below_mode + log_area(p.event_shape[0])).to(q.loc.dtype)


register_kl(VonMisesFisher, HypersphericalUniform)(kl_from_uniform)

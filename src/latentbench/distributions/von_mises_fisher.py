"""Von Mises-Fisher distribution, exact in density, draws and gradients."""

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

# Terms of the expansion, and the order from which they leave nothing but rounding (1e-12).
TERMS = 10
LOWEST_ORDER = 15
# A candidate is accepted with probability 0.65 or more: of four, at least one in all but one draw of 65.
CANDIDATES = 4
NODES = 64


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
    """log(I_order(x) e^{-x} x^{-order}) and I_{order+1}(x) / I_order(x), both smooth from x = 0 on; float64.

    Olver's expansion for large orders (DLMF 10.41.3) gives two neighbouring ones, and from these the recurrence
    I_{n-1} = I_{n+1} + 2 n / x I_n goes down, in which direction errors shrink.
    """
    steps = max(0, math.ceil(LOWEST_ORDER - order))
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
    below = torch.stack(ratios).log().sum(0) if ratios else 0.0
    return logs[..., 0] + below, x / ratio


def mode(kappa: Tensor, a: int) -> Tensor:
    """t* = tanh of the mode of y, where kappa (1 - t*^2) = a t*."""
    return 2 * kappa / (a + (a**2 + 4 * kappa.square()).sqrt())


def draw(kappa: Tensor, a: int) -> Tensor:
    """y = atanh(axis.z), whose density is proportional to exp(kappa tanh y) / cosh(y)^a, a = m - 1; (n,) -> (n,).

    A candidate is y* + l with tanh l = tau and (1 + tau) / 2 of Beta(a/2, a/2), the density proportional to
    cosh(l)^{-a}; what the target has fallen beyond that, a (log q + 1/q - 1) with q = 1 + t* tau, is its chance.
    Source: the rejection sampler of Wood 1994, in y.
    """
    made, rest = torch.empty_like(kappa), torch.arange(len(kappa), device=kappa.device)
    while len(rest):
        peak = mode(kappa[rest], a).unsqueeze(-1)
        level, radius, angle = torch.rand((3, len(rest), CANDIDATES), dtype=kappa.dtype, device=kappa.device)
        # Ulrich 1984: two coordinates of a uniform point of S^a have a squared radius of Beta(1, (a - 1)/2).
        outside = (radius.log() * (2 / (a - 1) if a > 1 else math.inf)).exp()
        angle = 2 * math.pi * angle
        tau = (1 - outside).sqrt() * angle.cos()
        away = outside + (1 - outside) * angle.sin().square()  # 1 - tau^2 without cancellation
        steps = torch.asinh(tau / away.clamp(min=1e-300).sqrt())
        q = 1 + peak * tau
        # Asked this way round, a NaN of a diverged training is passed on instead of being drawn again for ever.
        accepted = ~(level.log() > -a * (q.log() + 1 / q - 1))
        first = accepted.int().argmax(-1, keepdim=True)
        found = accepted.any(-1)
        candidates = (torch.atanh(peak) + steps).gather(-1, first).squeeze(-1)
        made[rest[found]] = candidates[found]
        rest = rest[~found]
    return made


@lru_cache
def quadrature(a: int) -> tuple[list[float], list[float]]:
    """Gauss-Legendre nodes and weights on [0, L]; beyond L a tail is below e^{-35} of where it starts."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    length = 35 / a + math.log1p(math.sqrt(-math.expm1(-70 / a)))  # arccosh(e^{35 / a})
    return (length * (nodes + 1) / 2).tolist(), (length * weights / 2).tolist()


def log_cosh(y: Tensor) -> Tensor:
    """log cosh(y), less log 2."""
    return y.abs() + torch.log1p(torch.exp(-2 * y.abs()))


def implicit_gradient(y: Tensor, kappa: Tensor, mean: Tensor, a: int) -> Tensor:
    """dy/dkappa = -int_{-inf}^y (tanh s - mean) f(s) ds / f(y) at a fixed level of the distribution function.

    The integral over the whole line is 0: beyond the mode the other tail is taken, whose integrand does not grow.
    Source: Figurnov et al. 2018, equation 5.
    """
    nodes, weights = (y.new_tensor(numbers) for numbers in quadrature(a))
    side = torch.where(y.tanh() >= mode(kappa, a), 1.0, -1.0).to(y.dtype)
    y, kappa, mean = y.unsqueeze(-1), kappa.unsqueeze(-1), mean.unsqueeze(-1)
    s = y + side.unsqueeze(-1) * nodes
    t = s.tanh()
    falls = kappa * (t - y.tanh()) - a * (log_cosh(s) - log_cosh(y))
    return side * (((t - mean) * falls.exp()) @ weights)


class VonMisesFisher(Distribution):
    """log q(z) = kappa loc.z + log C(kappa), C = kappa^{m/2-1} / ((2 pi)^{m/2} I_{m/2-1}(kappa)), on S^{m-1}.

    loc: unit vectors (..., m); concentration: kappa >= 0, (...). Source: Davidson et al. 2018 (S-VAE), section 3.1.
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
        # log C + kappa, which does not grow with kappa.
        self._log_scaled = -dim / 2 * math.log(2 * math.pi) - log_bessels
        super().__init__(batch, loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """A loc, with A = I_{m/2}(kappa) / I_{m/2-1}(kappa)."""
        return self._mean_length.to(self.loc.dtype).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """Loc."""
        return self.loc

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """(S, ..., m); gradients are implicit in kappa and those of a rotation in loc."""
        shape = self._extended_shape(torch.Size(sample_shape))
        a = shape[-1] - 1
        kappa = self._kappa.expand(shape[:-1])
        fixed = kappa.detach()
        y = draw(fixed.reshape(-1), a).reshape(fixed.shape)
        if torch.is_grad_enabled() and kappa.requires_grad:
            y = y + (kappa - fixed) * implicit_gradient(y, fixed, self._mean_length.detach().expand(fixed.shape), a)
        return around_axis(self.loc.double(), y).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., m) -> (...)."""
        # loc.z - 1 by the distance: kappa would multiply what rounding has done to the lengths of z and loc.
        from_mode = -0.5 * (value.double() - self.loc.double()).square().sum(-1)
        return (self._kappa * from_mode + self._log_scaled).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        """-kappa A - log C, (...)."""
        return (self._kappa * (1 - self._mean_length) - self._log_scaled).to(self.loc.dtype)


def kl_from_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    """kappa A + log C + log area. Source: Davidson et al. 2018, section 3.2."""
    below_mode = q._kappa * (1 - q._mean_length)
    return (q._log_scaled - below_mode + log_area(p.event_shape[0])).to(q.loc.dtype)


register_kl(VonMisesFisher, HypersphericalUniform)(kl_from_uniform)

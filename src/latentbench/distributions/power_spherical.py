"""Power spherical distribution: similar to the von Mises-Fisher, but without rejection sampling or Bessel functions."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, constraints
from torch.distributions.kl import register_kl

from latentbench.distributions.hyperspherical_uniform import HypersphericalUniform, around_axis, log_area


class PowerSpherical(Distribution):
    """q(z) = (1 + loc.z)^kappa / N on S^{m-1}, N = 2^{alpha+beta} pi^beta Gamma(alpha) / Gamma(alpha+beta).

    Here beta = (m-1)/2 and alpha = beta + kappa.
    Shape: loc (..., m), unit vectors; concentration (...), kappa >= 0.
    Source: De Cao and Aziz 2020, section 2.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(batch + loc.shape[-1:])
        self.concentration = concentration.expand(batch)
        self._kappa = self.concentration.double()
        self._beta = (loc.shape[-1] - 1) / 2
        self._alpha = self._beta + self._kappa
        total = self._alpha + self._beta
        self._log_normalizer = (
            total * math.log(2) + self._beta * math.log(math.pi) + self._alpha.lgamma() - total.lgamma()
        )
        super().__init__(batch, loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """(alpha - beta) / (alpha + beta) loc."""
        length = self._kappa / (self._alpha + self._beta)
        return length.to(self.loc.dtype).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """(1 + loc.z) / 2 ~ Beta(alpha, beta). Source: De Cao and Aziz 2020, algorithm 1."""
        # A Dirichlet sample holds both b and 1 - b. Near 0 and 1, computing 1 - b from b would lose its digits.
        shares = Dirichlet(
            torch.stack([self._alpha, torch.full_like(self._alpha, self._beta)], -1), validate_args=False
        )
        logs = shares.rsample(torch.Size(sample_shape)).log()
        return around_axis(self.loc.double(), 0.5 * (logs[..., 0] - logs[..., 1])).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Shape: (..., m) -> (...). Finite even at -loc, where the density is 0."""
        z, loc = value.double(), self.loc.double()
        near, far = (z - loc).square().sum(-1), (z + loc).square().sum(-1)
        # 1 + loc.z = 2 far / (near + far). Computing loc.z itself would multiply the rounding errors in the lengths of
        # z and loc by kappa.
        log_share = -torch.log1p(near / far.clamp(min=1e-30))
        return (self._kappa * (math.log(2) + log_share) - self._log_normalizer).to(self.loc.dtype)

    def _negative_entropy(self) -> Tensor:
        """E log q = kappa (log 2 + psi(alpha) - psi(alpha + beta)) - log N, float64."""
        log_share = self._alpha.digamma() - (self._alpha + self._beta).digamma()
        return self._kappa * (math.log(2) + log_share) - self._log_normalizer

    def entropy(self) -> Tensor:
        return -self._negative_entropy().to(self.loc.dtype)


def kl_from_uniform(q: PowerSpherical, p: HypersphericalUniform) -> Tensor:
    """KL(q || uniform) = E log q + log area, nats. Source: De Cao and Aziz 2020, section 2."""
    return (q._negative_entropy() + log_area(p.event_shape[0])).to(q.loc.dtype)


register_kl(PowerSpherical, HypersphericalUniform)(kl_from_uniform)

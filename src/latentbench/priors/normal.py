"""Standard normal prior."""

from torch import Tensor

from latentbench.distributions.spaces import slerp, slerp_midpoint
from latentbench.distributions.standard_normal import StandardNormal
from latentbench.priors.independent import IndependentPrior


class NormalPrior(IndependentPrior):
    """p(z) = N(0, I). Source: Kingma & Welling 2014, section 3."""

    def factors(self, zero: Tensor) -> StandardNormal:
        return StandardNormal(zero)

    def midpoint(self, start: Tensor, end: Tensor) -> Tensor:
        """On the great circle: samples of N(0, I) have lengths of about sqrt(D), a straight line has shorter ones."""
        return slerp_midpoint(start, end)

    def interpolate(self, start: Tensor, end: Tensor, t: float) -> Tensor:
        return slerp(start, end, t)

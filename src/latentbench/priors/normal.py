"""Standard normal prior."""

import torch
from torch import Tensor
from torch.distributions import Normal

from latentbench.distributions.spaces import slerp_halfway
from latentbench.priors.independent import IndependentPrior


class NormalPrior(IndependentPrior):
    """p(z) = N(0, I). Source: Kingma & Welling 2014, section 3."""

    def factors(self, zero: Tensor) -> Normal:
        """N(0, 1)."""
        return Normal(zero, torch.ones_like(zero), validate_args=False)

    def halfway(self, start: Tensor, end: Tensor) -> Tensor:
        """On the great circle: draws of N(0, I) have lengths of about sqrt(D), which straight lines cut short."""
        return slerp_halfway(start, end)

"""Laplace prior."""

import math

import torch
from torch import Tensor
from torch.distributions import Laplace

from latentbench.priors.independent import IndependentPrior


class LaplacePrior(IndependentPrior):
    """p(z) = prod_j exp(-|z_j| / b) / 2b with b = 1 / sqrt(2), so that every coordinate has variance 2 b^2 = 1.

    Source: Olshausen & Field 1996 (a sparse prior); Kingma & Welling 2014, section 2.4, allow this family.
    """

    def factors(self, zero: Tensor) -> Laplace:
        return Laplace(zero, torch.full_like(zero, math.sqrt(0.5)), validate_args=False)

"""Logistic prior."""

import math

import torch
from torch import Tensor

from latentbench.distributions.logistic import Logistic
from latentbench.priors.independent import IndependentPrior


class LogisticPrior(IndependentPrior):
    """p(z) = prod_j Logistic(z_j; 0, s) with s = sqrt(3) / pi, so that every coordinate has variance pi^2 s^2 / 3 = 1.

    Source: Dinh et al. 2015 (NICE), section 3.4, where it is the base density, with s = 1.
    """

    def factors(self, zero: Tensor) -> Logistic:
        return Logistic(zero, torch.full_like(zero, math.sqrt(3) / math.pi))

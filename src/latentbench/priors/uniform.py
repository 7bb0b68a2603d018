"""Uniform prior on a box."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Uniform

from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, Space
from latentbench.priors.independent import IndependentPrior


class UniformPrior(IndependentPrior):
    """p(z) = (2 w)^-D on the box [-w, w]^D with w = sqrt(3), so that every coordinate has variance w^2 / 3 = 1.

    Source: Makhzani et al. 2016, section 2 (the aggregate posterior can be matched to any prior that can be sampled).
    """

    space: ClassVar[Space] = BOX

    def factors(self, zero: Tensor) -> Uniform:
        half_width = torch.full_like(zero, BOX_HALF_WIDTH)
        return Uniform(-half_width, half_width, validate_args=False)

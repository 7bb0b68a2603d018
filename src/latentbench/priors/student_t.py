"""Student's t prior."""

import torch
from torch import Tensor

from latentbench.distributions.student_t import StudentT
from latentbench.errors import check_number
from latentbench.priors.independent import IndependentPrior


class StudentTPrior(IndependentPrior):
    """p(z) = prod_j StudentT(z_j; nu, 0, s) with nu > 2 and s^2 = (nu - 2) / nu, so that every variance is 1.

    Source: Abiri & Ohlsson 2019 (Variational auto-encoders with Student's t-prior).
    """

    def __init__(self, *, latent_size: int, shape: tuple[int, int, int], degrees_of_freedom: float) -> None:
        super().__init__(latent_size=latent_size, shape=shape)
        self.degrees_of_freedom = check_number("prior.degrees_of_freedom", degrees_of_freedom, above=2)

    def factors(self, zero: Tensor) -> StudentT:
        scale = torch.full_like(zero, (1 - 2 / self.degrees_of_freedom) ** 0.5)
        return StudentT(self.degrees_of_freedom, zero, scale)

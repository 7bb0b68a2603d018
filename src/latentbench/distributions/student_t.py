"""Student's t distribution."""

import math

import torch
from scipy.special import betaln, psi
from torch import Tensor
from torch.distributions import StudentT as TorchStudentT


class StudentT(TorchStudentT):
    """p(z) = (1 + u^2 / nu)^(-(nu + 1) / 2) / (s sqrt(nu) B(nu / 2, 1 / 2)) with u = (z - m) / s.

    Where we differ from torch: what depends on the degrees of freedom nu alone is computed in double precision. Its
    terms nearly cancel: at 1e6 degrees of freedom single precision is 0.08 nats per coordinate off.
    Units: nats.
    """

    def __init__(self, degrees_of_freedom: float, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc.new_full((), degrees_of_freedom), loc, scale, validate_args=False)
        nu = degrees_of_freedom
        self._log_width = float(betaln(0.5 * nu, 0.5)) + 0.5 * math.log(nu)
        self._standard_entropy = 0.5 * (nu + 1) * float(psi(0.5 * (nu + 1)) - psi(0.5 * nu)) + self._log_width

    def log_prob(self, value: Tensor) -> Tensor:
        u = (value - self.loc) / self.scale
        normalizer = self.scale.log() + self._log_width
        log_prob: Tensor = -0.5 * (self.df + 1) * torch.log1p(u**2 / self.df) - normalizer
        return log_prob

    def entropy(self) -> Tensor:
        entropy: Tensor = self.scale.log() + self._standard_entropy
        return entropy

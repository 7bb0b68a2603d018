"""Student's t distribution."""

import math

import torch
from scipy.special import betaln, psi
from torch import Tensor
from torch.distributions import Distribution, Gamma
from torch.distributions import StudentT as TorchStudentT


class StudentT(TorchStudentT):
    """p(z) = (1 + u^2 / nu)^(-(nu + 1) / 2) / (s sqrt(nu) B(nu / 2, 1 / 2)) with u = (z - m) / s.

    Where we differ from torch: what depends on the degrees of freedom nu alone is computed in double precision. Its
    terms nearly cancel: at 1e6 degrees of freedom single precision is 0.08 nats per coordinate off.
    Units: nats.
    """

    def __init__(self, degrees_of_freedom: float, loc: Tensor, scale: Tensor) -> None:
        nu = degrees_of_freedom
        self.df, self.loc, self.scale = torch.broadcast_tensors(loc.new_full((), nu), loc, scale)
        # As torch's own, which copies the number 0.5 to the device: a step that does so cannot be replayed.
        self._chi2 = Gamma(0.5 * self.df, torch.full_like(self.df, 0.5), validate_args=False)  # type: ignore[assignment]
        Distribution.__init__(self, self.df.shape, validate_args=False)
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

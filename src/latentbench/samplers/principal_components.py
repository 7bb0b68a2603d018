"""Principal components of the training latents."""

from typing import NamedTuple

import torch
from torch import Tensor


class PrincipalComponents(NamedTuple):
    """z = m + V (s w): w has mean 0 and covariance I over the latents, whose covariance is V diag(s^2) V^T.

    In float64, which sums of squares need. A code with a dead dimension has a singular covariance: some s is 0 then.
    """

    mean: Tensor  # m, (D,)
    vectors: Tensor  # V, (D, D), orthogonal
    scales: Tensor  # s, (D,), standard deviations

    @property
    def root(self) -> Tensor:
        """V diag(s), (D, D): a square root of the covariance, which may have no Cholesky factor."""
        return self.vectors * self.scales

    def alive(self) -> "PrincipalComponents":
        """Without the D - C components in which nothing varies: vectors (D, C), scales (C,)."""
        kept = self.scales > 0
        return PrincipalComponents(self.mean, self.vectors[:, kept], self.scales[kept])


def principal_components(latents: Tensor) -> PrincipalComponents:
    """Of latents (N, D); a standard deviation within the rounding errors of their own numbers counts as 0."""
    exact = latents.double()
    values, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov(exact.T)))
    scales = values.clamp(min=0).sqrt()
    rounding = torch.finfo(latents.dtype).eps * exact.abs().max()
    return PrincipalComponents(exact.mean(0), vectors, scales.where(scales > rounding, 0.0))

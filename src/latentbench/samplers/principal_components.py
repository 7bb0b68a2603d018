"""Principal components of the training latents."""

from typing import NamedTuple

import torch
from torch import Tensor

# The most of min(N, D). A decomposition takes up to half a minute and a gigabyte for 3,000; time grows with the cube.
MAX_DIMENSIONS = 6000


class PrincipalComponents(NamedTuple):
    """Whitening of the latents: z = m + V (s w), where w has mean 0 and covariance I over the latents.

    The covariance of the latents is V diag(s^2) V^T. If it is singular, as with a latent dimension that does not vary,
    some s are 0. All tensors are float64, which sums of squares need.
    """

    mean: Tensor  # m, (D,)
    vectors: Tensor  # V, (D, C), orthonormal columns, C = min(N, D) for N latents
    scales: Tensor  # s, (C,), standard deviations

    @property
    def root(self) -> Tensor:
        """V diag(s), (D, C): a square root of the covariance, even if the covariance has no Cholesky factor."""
        return self.vectors * self.scales

    def nonzero(self) -> "PrincipalComponents":
        """Only the components with s > 0."""
        varies = self.scales > 0
        return PrincipalComponents(self.mean, self.vectors[:, varies], self.scales[varies])


def principal_components(latents: Tensor) -> PrincipalComponents:
    """Principal components of latents (N, D). Standard deviations within the latents' rounding errors are set to 0."""
    exact = latents.double()
    if len(exact) < exact.shape[1]:  # without the covariance matrix, which would be large and singular
        _, values, transposed = torch.linalg.svd(exact - exact.mean(0), full_matrices=False)
        vectors, scales = transposed.T, values / (len(exact) - 1) ** 0.5
    else:
        values, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov(exact.T)))
        scales = values.clamp(min=0).sqrt()
    rounding = torch.finfo(latents.dtype).eps * exact.abs().max()
    return PrincipalComponents(exact.mean(0), vectors, scales.where(scales > rounding, 0.0))

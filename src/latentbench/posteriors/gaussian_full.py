"""Gaussian posterior with full covariance."""

import torch
from torch import Tensor

from latentbench.distributions.full_gaussian import FullGaussian
from latentbench.posteriors.base import Posterior


class FullGaussianPosterior(Posterior):
    """q(z|x) = N(m(x), L(x) L(x)^T), L(x) = diag(s(x)) C(x), the rows of C of length 1: s are the standard deviations.

    C is a lower triangular matrix with ones on the diagonal, each row divided by its length. What is below the diagonal
    is the encoder's, over sqrt(D): C starts near the identity whatever the size. |log s| and these numbers are kept
    within 10. Source: Kingma & Welling 2019 (An Introduction to Variational Autoencoders), section 2.5.1.
    """

    below: Tensor

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        self.register_buffer("below", torch.tril_indices(coordinates, coordinates, -1), persistent=False)
        self.inputs = 2 * coordinates + self.below.shape[1]

    def forward(self, raw: Tensor) -> FullGaussian:
        """q(z|x), batch shape (B,), event shape (D,)."""
        size = self.coordinates
        mean, log_scale, correlation = raw.split([size, size, self.below.shape[1]], dim=-1)
        rows = torch.eye(size, dtype=raw.dtype, device=raw.device).repeat(len(raw), 1, 1)
        rows[:, self.below[0], self.below[1]] = correlation.clamp(-10, 10) / size**0.5
        scales = log_scale.clamp(-10, 10).exp()
        return FullGaussian(mean, scales[..., None] * rows / rows.norm(dim=-1, keepdim=True))

"""Gaussian posterior with a full covariance matrix."""

import torch
from torch import Tensor

from latentbench.distributions.full_gaussian import FullGaussian
from latentbench.posteriors.base import Posterior


class FullGaussianPosterior(Posterior):
    """q(z|x) = N(m(x), L(x) L(x)^T) with L(x) = diag(s(x)) C(x), where s are the standard deviations.

    C is a lower triangular matrix with ones on the diagonal, with each row then divided by its length. The entries
    below the diagonal are outputs of the encoder divided by sqrt(D), so that C starts near the identity for any D.
    These outputs and log s are clamped to [-10, 10].
    Source: Kingma & Welling 2019 (An Introduction to Variational Autoencoders), section 2.5.1.
    """

    below: Tensor  # row and column indices of the entries below the diagonal, (2, D (D - 1) / 2)

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        self.register_buffer("below", torch.tril_indices(coordinates, coordinates, -1), persistent=False)
        self.inputs = 2 * coordinates + self.below.shape[1]

    def forward(self, raw: Tensor) -> FullGaussian:
        size = self.coordinates
        mean, log_scale, correlation = raw.split([size, size, self.below.shape[1]], dim=-1)
        rows = torch.eye(size, dtype=raw.dtype, device=raw.device).repeat(len(raw), 1, 1)
        rows[:, self.below[0], self.below[1]] = correlation.clamp(-10, 10) / size**0.5
        scales = log_scale.clamp(-10, 10).exp()
        return FullGaussian(mean, scales[..., None] * rows / rows.norm(dim=-1, keepdim=True))

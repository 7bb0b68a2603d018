"""A Gaussian fitted to the training latents."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import MAX_DIMENSIONS, principal_components


class GaussianSampler(Sampler):
    """z ~ N(m, S), with the mean m and the full covariance S of the training latents.

    Samples use a square root of S from its eigenvectors. It always exists, unlike a Cholesky factor: S is singular if a
    latent dimension does not vary.
    """

    max_dimensions: ClassVar[float] = MAX_DIMENSIONS

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        assert latents is not None
        components = principal_components(latents)
        self.mean, self.root = components.mean.to(latents), components.root.to(latents)

    def draw(self, n: int) -> Tensor:
        noise = torch.randn(n, self.root.shape[1], dtype=self.mean.dtype, device=self.mean.device)
        samples: Tensor = self.mean + noise @ self.root.T
        return samples

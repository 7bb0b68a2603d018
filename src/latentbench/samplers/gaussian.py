"""A Gaussian fitted to the training latents."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import principal_components


class GaussianSampler(Sampler):
    """z ~ N(m, S), mean and full covariance of the training latents.

    A symmetric square root of S serves where a Cholesky factor may not exist: a code with a dead dimension
    has a singular covariance.
    """

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Moments of the latents, in float64."""
        assert latents is not None
        components = principal_components(latents)
        self.mean, self.root = components.mean.to(latents), components.root.to(latents)

    def draw(self, n: int) -> Tensor:
        """n latents (n, D)."""
        noise = torch.randn(n, len(self.mean), dtype=self.mean.dtype, device=self.mean.device)
        drawn: Tensor = self.mean + noise @ self.root.T
        return drawn

"""Draws of the prior."""

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from latentbench.samplers.base import Sampler


class PriorSampler(Sampler):
    """z ~ p(z). For a plain autoencoder: as if it had been regularized, the naive choice."""

    needs_latents: ClassVar[bool] = False

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Keep the prior."""
        self.prior = prior

    def draw(self, n: int) -> Tensor:
        """n latents (n, D)."""
        return self.prior.sample((n,))

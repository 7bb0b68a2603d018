"""Samples from the prior."""

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from latentbench.samplers.base import Sampler


class PriorSampler(Sampler):
    """z ~ p(z). For a plain autoencoder this is naive: nothing has pulled its latents towards the prior."""

    needs_latents: ClassVar[bool] = False

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        self.prior = prior

    def draw(self, n: int) -> Tensor:
        return self.prior.sample((n,))

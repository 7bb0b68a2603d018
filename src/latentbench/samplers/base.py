"""The contract of a sampler: how one picks a latent to decode."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution


class Sampler(ABC):
    """fit(prior, latents) once, then draw(n) -> z (n, D)."""

    needs_latents: ClassVar[bool] = True  # whether it is fitted to codes of training images
    min_latents: int = 2  # latents to be fitted to

    @abstractmethod
    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Learn from one draw of q(z|x) per training image (N, D); None where the model cannot encode."""

    @abstractmethod
    def draw(self, n: int) -> Tensor:
        """n latents (n, D)."""

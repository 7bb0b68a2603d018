"""Uniform draws in the box around the training latents."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.samplers.base import Sampler


class BoundingBoxSampler(Sampler):
    """z_j ~ U(min z_j, max z_j), the coordinates independent of each other; min and max are over the training latents.

    What one can do who knows how far the latents reach and nothing else. The box is mostly empty where latents fill
    little of it, and the more so the more dimensions it has.
    """

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Corners of the box."""
        assert latents is not None
        self.low, self.high = latents.amin(0), latents.amax(0)

    def draw(self, n: int) -> Tensor:
        """n latents (n, D)."""
        place = torch.rand(n, len(self.low), dtype=self.low.dtype, device=self.low.device)
        return self.low.lerp(self.high, place)

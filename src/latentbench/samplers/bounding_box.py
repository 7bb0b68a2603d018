"""Uniform samples from the bounding box of the training latents."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.samplers.base import Sampler


class BoundingBoxSampler(Sampler):
    """z_j ~ U(min z_j, max z_j), independently for each coordinate, with min and max over the training latents.

    This uses nothing but the range of the latents. The latents may fill only a small part of the box, and usually fill
    a smaller part in more dimensions.
    """

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        assert latents is not None
        self.low, self.high = latents.amin(0), latents.amax(0)

    def draw(self, n: int) -> Tensor:
        position = torch.rand(n, len(self.low), dtype=self.low.dtype, device=self.low.device)
        return self.low.lerp(self.high, position)

"""The contract of a sampler: how to draw the latents that are decoded into new images."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor
from torch.distributions import Distribution

from latentbench.errors import UserError


class Sampler(ABC):
    """Draws latents, usually after fitting a density to the latents of training images.

    To add one, subclass Sampler and implement `fit` and `draw`. `fit` is called once, before `draw`. To train a network
    on the latents, subclass TrainedSampler instead. Requirements:
    - drawn latents have the dtype and the device of the latents that the sampler was fitted to;
    - `draw` uses torch's global random numbers, `fit` those of `seed`, and neither changes the model;
    - latents that do not vary in some direction, or in any, are handled.
    """

    needs_latents: ClassVar[bool] = True  # True if it is fitted to latents of training images
    min_latents: int = 2  # number of latents that `fit` needs
    max_dimensions: ClassVar[float] = math.inf  # of the latents' span; of more, `fit` takes too much time or memory

    @abstractmethod
    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Fit the sampler.

        prior: p(z), event shape (D,).
        latents: one sample of q(z|x) per training image (N, D); None if the model cannot encode, which only samplers
            with needs_latents = False have to handle.
        """

    @abstractmethod
    def draw(self, n: int) -> Tensor:
        """Return n latents (n, D)."""

    def refuses(self, latents: Tensor) -> str | None:
        """Why it cannot be fitted to latents (N, D); None if it can. They span at most min(N, D) dimensions."""
        if len(latents) < self.min_latents:
            return f"this sampler needs at least {self.min_latents} latents, and there are {len(latents)}"
        if (span := min(latents.shape)) > self.max_dimensions:
            return (
                f"latents of {span:,} dimensions would take this sampler too much time or memory: it is for at most "
                f"{self.max_dimensions:,}"
            )
        return None

    def checked_draw(self, n: int, *, prior: Distribution, latents: Tensor | None) -> Tensor:
        """Return n latents (n, D); the other arguments are those of `fit`.

        Raises: UserError if `draw` gives something else.
        """
        z: Any = self.draw(n)
        shape = (n, *prior.event_shape)
        came, wanted = type(z).__name__, f"a tensor of shape {shape}"
        if isinstance(z, Tensor):
            came = f"a tensor of shape {tuple(z.shape)}"
            if latents is not None:
                came, wanted = (f"{x}, {y.dtype} on {y.device}" for x, y in ((came, z), (wanted, latents)))
        if came != wanted or not isinstance(z, Tensor):
            raise UserError(f"{type(self).__name__}.draw gives {came}: give {wanted}")
        return z

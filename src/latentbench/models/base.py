"""The contract of a generative model: what evaluation may ask of it."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.backbones.base import Backbone
from latentbench.distributions.spaces import Space
from latentbench.errors import Diverged, UserError
from latentbench.priors.base import Prior

# What a metric may ask for: latents of images; their middle; units, to tell active ones; q(z|x) as a density over p's
# space; that of each coordinate; KL(q || p); log p(x|z); log p(x); draws of p(x, z), and log p(x, z) with its gradient.
Ability = Literal[
    "encode",
    "interpolate",
    "units",
    "posterior_density",
    "factors",
    "rate",
    "distortion",
    "log_likelihood",
    "joint_density",
]


class GenerativeModel(pl.LightningModule):
    """Draws latents from a prior and decodes them; what else it can do is asked with `cannot`, never guessed."""

    # Whether it is shown draws of binarized pixels, whose distribution it models; without one it is shown the
    # expected images, as its own images are compared with these.
    models_pixels: ClassVar[bool] = True

    backbone: Backbone  # most of the work, and what several processes share

    # Several optimizers of which each has parameters of its own: the steps are written out.
    automatic_optimization = False

    prior: Prior

    def __init__(self, **learning_rates: float) -> None:
        super().__init__()
        for name, rate in learning_rates.items():
            if type(rate) not in (int, float) or not rate > 0:
                raise UserError(f"model.{name}={rate}: a learning rate is a number above 0")
        self._sums: dict[str, Tensor] = {}

    @abstractmethod
    def cannot(self, ability: Ability, *, binary: bool) -> str | None:
        """Why it has not got an ability; None if it has.

        binary: whether the pixels are 0 or 1.
        """

    @abstractmethod
    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """Where p has its latents."""

    @abstractmethod
    def images(self, z: Tensor) -> Tensor:
        """Mean image (B, C, H, W) in [0, 1] of p(x|z) for latents (B, D)."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What was settled by the model itself rather than by the config, for the record."""

    def posterior_distribution(self, x: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (D,). Ability: encode."""
        raise NotImplementedError

    def pixel_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), nats, (S, B) for x (B, C, H, W) and z (S, B, D), or (S, 1, D) for all. Ability: distortion."""
        raise NotImplementedError

    def draw_pixels(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) drawn of p(x|z) for latents (B, D), noise and all. Ability: joint_density."""
        raise NotImplementedError

    def half_width(self) -> float:
        """w, where latents are in the box [-w, w]^D; infinite where they are in all of R^n. Ability: joint_density."""
        raise NotImplementedError

    def kl_per_image(self, q: Distribution, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), nats, shape (B,), draws z (S, B, D) of q. Ability: rate."""
        raise NotImplementedError

    def note(self, stage: str, terms: dict[str, Tensor], n: int) -> None:
        """Add a batch of n images to the epoch's means of the loss terms, each a scalar.

        Kept here and logged once an epoch: Lightning's own bookkeeping costs as much as a small network's step.
        """
        for name, term in terms.items():
            total = self._sums.setdefault(f"{stage}/{name}", term.new_zeros(2))
            total += torch.stack([term.detach() * n, term.new_tensor(float(n))])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means. Raises: Diverged if one of them is not a number."""
        means = {name: (total[0] / total[1]).item() for name, total in self._sums.items()}
        self._sums.clear()
        for name, value in means.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} became {value} in epoch {self.current_epoch + 1}")
        self.log_dict(means)

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    def code(self, x: Tensor) -> Tensor:
        """The latent (B, D) that stands for x (B, C, H, W). Ability: encode."""
        raise NotImplementedError

    def interpolate(self, start: Tensor, end: Tensor) -> Tensor:
        """Latents (B, D) half-way from those of one image to those of another. Ability: interpolate."""
        raise NotImplementedError

    def reconstruct(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) decoded from the latent that stands for x. Ability: encode."""
        return self.images(self.code(x))

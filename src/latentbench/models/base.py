"""The contract of a generative model: what training and evaluation use of it."""

from abc import abstractmethod
from typing import Any, Literal

from torch import Tensor
from torch.distributions import Distribution

from latentbench.backbones.base import Backbone, batch_normalizations
from latentbench.data.base import ImageData
from latentbench.distributions.spaces import Space
from latentbench.models.training import TrainedModel
from latentbench.priors.base import Prior

# What a metric may need from a model. `GenerativeModel.cannot` returns why a model does not have it.
Ability = Literal[
    "encode",  # the code of an image
    "interpolate",  # a latent half-way between two others
    "active_units",  # latent coordinates that the model may leave unused
    "posterior_density",  # q(z|x), in the space of the prior
    "independent_coordinates",  # q(z|x) as a product over coordinates
    "rate",  # KL(q(z|x) || p(z))
    "distortion",  # log p(x|z)
    "log_likelihood",  # log p(x) by importance sampling from q(z|x)
    "joint_density",  # draws from p(x, z), and the gradient of log p(x, z)
]


class GenerativeModel(TrainedModel):
    """A model that draws latents from a prior and decodes them to images; `cannot` says what else it can do."""

    backbone: Backbone  # with several devices, each computes its networks for a part of the batch
    prior: Prior

    @property
    def levels(self) -> int | None:
        """Grey levels of which p(x|z) is a probability; None if it is not of grey levels."""
        return None

    @abstractmethod
    def cannot(self, ability: Ability, *, binary: bool) -> str | None:
        """Why the model lacks an ability; None if it has it.

        binary: whether pixels are 0 or 1
        """

    def refuses(self, data: ImageData) -> str | None:
        """Why it cannot be trained on this data set, and what to take instead; None if it can."""
        size = data.batch_size
        if batch_normalizations(self.backbone) and (size == 1 or data.size("train") % size == 1):
            which = "every batch" if size == 1 else "the last batch"
            return (
                f"batch normalization needs two images, and with data.batch_size={size} {which} has one: take another "
                "batch size, or backbone=conv or resnet"
            )
        return None

    @abstractmethod
    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """The space of the prior's latents."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Mean image (B, C, H, W) in [0, 1] of p(x|z), for latents (B, D)."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the model itself determined and the config does not contain, for the record."""

    def posterior_distribution(self, x: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (D,). Ability: encode."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """The codes (B, D) of images x (B, C, H, W), such as the means of q(z|x). Ability: encode."""
        raise NotImplementedError

    def reconstruct(self, x: Tensor) -> Tensor:
        """The images decoded from the codes of x (B, C, H, W). Ability: encode."""
        return self.decode(self.encode(x))

    def interpolate(self, start: Tensor, end: Tensor) -> Tensor:
        """Latents half-way between two others, all (B, D). Ability: interpolate."""
        raise NotImplementedError

    def kl_per_image(self, q: Distribution, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), nats, (B,), given draws z (S, B, D) from q. Ability: rate."""
        raise NotImplementedError

    def pixel_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), nats, (S, B), of x (B, C, H, W) given z (S, B, D) or (S, 1, D). Ability: distortion."""
        raise NotImplementedError

    def sample_pixels(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) drawn from p(x|z), with pixel noise, for latents (B, D). Ability: joint_density."""
        raise NotImplementedError

    def box_half_width(self) -> float:
        """w if latents lie in the box [-w, w]^D, infinity if they lie in R^D. Ability: joint_density."""
        raise NotImplementedError

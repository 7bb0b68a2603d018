"""The contract of a posterior: how the encoder's output becomes a distribution over latents."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.spaces import REAL, Space


class Posterior(nn.Module, ABC):
    """Turns the encoder's output for an image x into the distribution q(z|x) of its latent.

    To add one, subclass Posterior, set `inputs` in the constructor, declare the class attributes that differ from the
    defaults below, and implement `forward`. For a family with a location and a scale per coordinate, subclass
    LocationScalePosterior instead. Requirements:
    - q has batch shape (B,) and event shape (coordinates,), and an `rsample` whose draws carry gradients to `raw`;
    - every real-valued input gives a valid distribution: clamp what could overflow;
    - `log_prob`, if there is one, is in nats.

    If each number of `raw` belongs to one coordinate, declare `per_coordinate`: `raw` has the first number of every
    coordinate, then the second of every one. Backbones with latents on a grid need it.

    latent_size: dimension of the latent space.
    coordinates: length D of a latent vector of the prior. A posterior in R^n has the same; one in another space passes
        the length that this space needs to the constructor of the base class.
    """

    space: ClassVar[Space] = REAL  # the space that its draws lie in
    has_density: ClassVar[bool] = True  # True if q.log_prob exists
    has_moments: ClassVar[bool] = True  # True if q.mean and q.variance exist
    is_factorised: ClassVar[bool] = False  # True if q has factor_log_prob and factor_kl
    has_relaxed_draws: ClassVar[bool] = False  # True if those with gradients lie between code words
    classes: int = 0  # classes per group of a code word; 0 if latents are not code words
    per_coordinate: ClassVar[int] = 0  # numbers of `raw` per latent coordinate; 0: some belong to no single one
    inputs: int  # length of `raw` for one image; the model's last encoder layer has this many outputs

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.coordinates = coordinates

    @abstractmethod
    def forward(self, raw: Tensor) -> Distribution:
        """Return q(z|x) for the encoder's output (B, inputs), any real numbers."""

    def share_over_positions(self, positions: int) -> None:
        """Called once, before training: latents lie on so many positions of a grid, which are alike. Here, no matter.

        The coordinates of the first position come first, then those of the next. Weights may be shared over positions.
        """

    def point_estimate(self, q: Distribution) -> Tensor:
        """Return the latent that represents each image, (B, D): the mean of q, or another point if the mean is invalid.

        Reconstructions, interpolations and the codes of metrics use it.
        """
        return q.mean

    def adapt_prior(self, p: Distribution) -> Distribution:
        """Return p as a distribution over this posterior's latents, where the two have different coordinates."""
        return p

    def auxiliary_loss(self, q: Distribution) -> Tensor | None:
        """Return a loss term that belongs to this posterior, a scalar averaged over the batch, or None."""
        return None

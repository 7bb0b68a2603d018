"""The contract of a posterior: from the encoder's last layer to a distribution over latents."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.spaces import REAL, Space


class Posterior(nn.Module, ABC):
    """forward(raw: (B, inputs)) -> q(z|x) with batch shape (B,) and event shape (coordinates,), sampled with gradients.

    latent_size: dimensions of the space of latents; coordinates: numbers that a latent is given by, which is one
    more on a sphere. In R^n a posterior has the coordinates of the prior it is built for.
    """

    space: ClassVar[Space] = REAL  # where its draws lie
    has_density: ClassVar[bool] = True  # whether q.log_prob exists
    has_moments: ClassVar[bool] = True  # whether q.mean and q.variance exist
    is_factorised: ClassVar[bool] = False  # whether q has factor_log_prob and factor_kl
    classes: int = 0  # of each group, in the space of codes
    inputs: int  # numbers per image that it is made from: the encoder ends in an affine layer to so many

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.coordinates = coordinates

    @abstractmethod
    def forward(self, raw: Tensor) -> Distribution:
        """Distribution of the latents given any real numbers of the encoder."""

    def point(self, q: Distribution) -> Tensor:
        """The latent that stands for an image, (B, D): the mean, or what takes its place where that is no latent."""
        return q.mean

    def placed(self, p: Distribution) -> Distribution:
        """The prior in the coordinates of this posterior's latents."""
        return p

    def own_loss(self, q: Distribution) -> Tensor | None:
        """A loss that comes with the posterior, a scalar averaged over the batch; None where there is none."""
        return None

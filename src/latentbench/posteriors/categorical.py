"""Categorical posterior."""

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from latentbench.distributions.one_hot import GumbelOneHot
from latentbench.distributions.spaces import CODES, Space
from latentbench.errors import check_number, check_whole_number
from latentbench.posteriors.base import Posterior


class CategoricalPosterior(Posterior):
    """q(z|x) = prod_g Categorical(z_g; softmax(raw_g)): latent_size groups, each a one-hot vector of length `classes`.

    Samples are one-hot. Their gradients are those of the Gumbel-softmax at `temperature` (straight-through).
    Source: Jang et al. 2017, section 2.2.
    """

    space: ClassVar[Space] = CODES
    has_moments: ClassVar[bool] = False
    is_factorised: ClassVar[bool] = True
    per_coordinate: ClassVar[int] = 1
    distribution: ClassVar[type[GumbelOneHot]] = GumbelOneHot

    def __init__(self, *, latent_size: int, coordinates: int, classes: int, temperature: float) -> None:
        check_whole_number("posterior.classes", classes, minimum=2)
        super().__init__(latent_size=latent_size, coordinates=latent_size * classes)
        self.classes = classes
        self.temperature = check_number("posterior.temperature", temperature, above=0)
        self.inputs = self.coordinates

    def forward(self, raw: Tensor) -> GumbelOneHot:
        return self.distribution(raw.unflatten(-1, (self.latent_size, self.classes)), self.temperature)

    def point_estimate(self, q: Distribution) -> Tensor:
        """The most probable code word, since the mean is not a code word."""
        return q.mode

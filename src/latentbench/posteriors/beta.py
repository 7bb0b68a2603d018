"""Beta posterior."""

import math
from typing import ClassVar

from torch import Tensor

from latentbench.distributions.box_beta import BoxBeta
from latentbench.distributions.factorised import Factorised
from latentbench.distributions.spaces import BOX, Space
from latentbench.posteriors.base import Posterior


class BetaPosterior(Posterior):
    """q(z|x) = prod_j Beta(alpha_j(x), beta_j(x)), stretched from [0, 1] to the box of the uniform prior.

    The concentrations are exponentials of the encoder's output, clamped to [1e-2, 1e4]. An output of 0 gives the
    uniform distribution. The KL divergence from the uniform prior is the negative entropy of Beta on [0, 1].
    Source: Figurnov et al. 2018, section 6.3 (a VAE with Beta posteriors). torch's samples have the paper's gradients.
    """

    space: ClassVar[Space] = BOX
    is_factorised: ClassVar[bool] = True
    per_coordinate: ClassVar[int] = 2

    def __init__(self, *, latent_size: int, coordinates: int) -> None:
        super().__init__(latent_size=latent_size, coordinates=latent_size)
        self.inputs = 2 * latent_size

    def forward(self, raw: Tensor) -> Factorised:
        alpha, beta = raw.clamp(math.log(1e-2), math.log(1e4)).exp().chunk(2, dim=-1)
        return Factorised(BoxBeta(alpha, beta))

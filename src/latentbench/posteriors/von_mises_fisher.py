"""Von Mises-Fisher posterior."""

from torch import Tensor

from latentbench.distributions.von_mises_fisher import VonMisesFisher
from latentbench.posteriors.directional import DirectionalPosterior


class VonMisesFisherPosterior(DirectionalPosterior):
    """q(z|x) = vMF(z; m(x), k(x)), proportional to exp(k m.z). Source: Davidson et al. 2018, equation 3."""

    def distribution(self, direction: Tensor, concentration: Tensor) -> VonMisesFisher:
        return VonMisesFisher(direction, concentration)

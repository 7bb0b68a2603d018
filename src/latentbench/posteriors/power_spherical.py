"""Power spherical posterior."""

from torch import Tensor

from latentbench.distributions.power_spherical import PowerSpherical
from latentbench.posteriors.directional import DirectionalPosterior


class PowerSphericalPosterior(DirectionalPosterior):
    """q(z|x) proportional to (1 + m(x).z)^k(x). Source: De Cao & Aziz 2020, equation 6."""

    def distribution(self, direction: Tensor, concentration: Tensor) -> PowerSpherical:
        return PowerSpherical(direction, concentration)

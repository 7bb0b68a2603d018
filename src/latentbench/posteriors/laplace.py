"""Laplace posterior."""

from torch import Tensor
from torch.distributions import Laplace

from latentbench.posteriors.location_scale import LocationScalePosterior


class LaplacePosterior(LocationScalePosterior):
    """q(z|x) = prod_j exp(-|z_j - m_j(x)| / s_j(x)) / 2 s_j(x).

    Source: Kingma & Welling 2014, section 2.4 (any location-scale family can replace the Gaussian).
    """

    def factors(self, location: Tensor, scale: Tensor) -> Laplace:
        return Laplace(location, scale, validate_args=False)

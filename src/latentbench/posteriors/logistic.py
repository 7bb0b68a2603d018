"""Logistic posterior."""

from torch import Tensor

from latentbench.distributions.logistic import Logistic
from latentbench.posteriors.location_scale import LocationScalePosterior


class LogisticPosterior(LocationScalePosterior):
    """q(z|x) = prod_j Logistic(z_j; m_j(x), s_j(x)).

    Source: Kingma & Welling 2014, section 2.4 (any location-scale family can replace the Gaussian).
    """

    def factors(self, location: Tensor, scale: Tensor) -> Logistic:
        return Logistic(location, scale)

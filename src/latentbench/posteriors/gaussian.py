"""Diagonal Gaussian posterior."""

from torch import Tensor
from torch.distributions import Normal

from latentbench.posteriors.location_scale import LocationScalePosterior


class GaussianPosterior(LocationScalePosterior):
    """q(z|x) = N(m(x), diag(s(x)^2)). Source: Kingma & Welling 2014, equation 9."""

    def factors(self, location: Tensor, scale: Tensor) -> Normal:
        return Normal(location, scale, validate_args=False)

"""Cramer-Wold distance between the codes and the standard normal distribution."""

import functools
import math

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy.special import hyp1f1
from torch import Tensor

from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.priors.normal import NormalPrior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.maximum_mean_discrepancy import squared_distances


class CramerWold(Regularizer):
    """R = log d^2(z, N(0, I)), where d is the Cramer-Wold distance, in closed form and without samples of the prior.

    Units: none. R is negative if the codes are close to N(0, I); its minimum is the logarithm of machine precision.
    Source: Knop et al. 2020 (CWAE), theorem 3; their loss is its logarithm.
    """

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        squared = cramer_wold_squared(latents.z)
        # The terms are about 1. A difference below their precision is noise of either sign.
        return squared.clamp(min=torch.finfo(squared.dtype).eps).log()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        if not isinstance(prior, NormalPrior):
            return (
                f"the Cramer-Wold distance has a closed form only for N(0, I), which {type(prior).__name__} is not: "
                "take prior=normal, or regularizer=mmd or sliced_wasserstein"
            )
        return None


def cramer_wold_squared(z: Tensor) -> Tensor:
    """d^2 = mean over directions v of int (f_v - g_v)^2, where f_v and g_v are smoothed densities of v.z and N(0, 1).

    Both are smoothed by convolution with N(0, g), g = (4 / (3 n))^(2/5) for n codes, which gives
    d^2 = 1 / (2 sqrt(pi)) [ 1/n^2 sum_ij phi(|z_i - z_j|^2 / (4 g)) / sqrt(g) + 1 / sqrt(1 + g)
                             - 2/n sum_i phi(|z_i|^2 / (2 + 4 g)) / sqrt(g + 1/2) ]
    Shape: z (n, D); result (), at least 0 up to rounding.
    Source: Knop et al. 2020, theorem 3. The paper replaces phi(s) by (1 + 4 s / (2 D - 3))^(-1/2), an approximation for
    many dimensions. With it, codes from N(0, I) keep a distance (d^2 = 0.013 instead of 0.003 for 128 codes and D = 8),
    and the codes that minimize d^2 have variances above 1 (3.2 for D = 2, 1.15 for D = 8). We use phi itself.
    """
    n, size = z.shape
    g = math.pow(4 / (3 * n), 0.4)
    # Centring does not change distances, and makes their rounding errors smallest.
    off_diagonal = 1 - torch.eye(n, dtype=z.dtype, device=z.device)
    centred = z - z.mean(0)
    squared = squared_distances(centred, centred) * off_diagonal
    within = phi(squared / (4 * g), size).mean() / math.sqrt(g)
    cross = phi(z.square().sum(1) / (2 + 4 * g), size).mean() / math.sqrt(g + 0.5)
    return (within + 1 / math.sqrt(1 + g) - 2 * cross) / (2 * math.sqrt(math.pi))


def phi(s: Tensor, size: int) -> Tensor:
    """1F1(1/2; D/2; -s), the mean of exp(-s v_1^2) over directions v, for s >= 0, with a relative error below 1e-6.

    In one dimension this is exp(-s), so that codes far from the prior have almost no gradient. In more dimensions it
    decreases like s^(-1/2) for large s, and they keep a gradient.
    Source: Knop et al. 2020, where it is called phi_D.
    """
    if size == 1:
        return torch.exp(-s)
    u = (size + 4) / (size + 4 + s)
    x = 2 * u - 1
    ratio = torch.zeros_like(x)
    for coefficient in _coefficients(size):
        ratio = ratio * x + coefficient
    return ratio * u.sqrt()


@functools.cache
def _coefficients(size: int) -> tuple[float, ...]:
    """Coefficients of the polynomial p, highest power first: phi(s) = p(2 u - 1) sqrt(u), u = (D + 4) / (D + 4 + s).

    Both phi and sqrt(u) start at 1 and decrease like s^(-1/2) for large s, so their ratio is smooth in u on [0, 1].
    """
    # Degree 16 gives errors up to 4e-7 for phi and 2e-5 for its derivative in two dimensions, 5e-8 and 2e-6 in more.
    x = chebyshev.chebpts1(17)
    u = (x + 1) / 2
    ratio = hyp1f1(0.5, size / 2, -(size + 4) * (1 / u - 1)) / np.sqrt(u)
    powers = chebyshev.cheb2poly(chebyshev.chebfit(x, ratio, 16))
    return tuple(float(power) for power in powers[::-1])

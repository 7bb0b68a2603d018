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
    """R = log d^2(z, N(0, I)), with d the Cramer-Wold distance, in closed form: nothing is drawn.

    No units. R is negative where codes are close, down to the logarithm of machine precision.
    Source: Knop et al. 2020 (CWAE), theorem 3, of which their loss has the logarithm.
    """

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        """R."""
        squared = cramer_wold_squared(latents.z)
        # Below the precision of its terms, which are about 1, the difference is noise, of either sign.
        return squared.clamp(min=torch.finfo(squared.dtype).eps).log()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """The closed form is that of one prior."""
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        if not isinstance(prior, NormalPrior):
            return (
                f"the Cramer-Wold distance has its closed form for N(0, I), which {type(prior).__name__} is not: "
                "take prior=normal, or regularizer=mmd or sliced_wasserstein"
            )
        return None


def cramer_wold_squared(z: Tensor) -> Tensor:
    """d^2 = mean over directions v of int (f_v - g_v)^2, f_v and g_v the smoothed densities of v.z and N(0, 1).

    Both are convolved with N(0, g), g = (4 / (3 n))^(2/5) for n codes, which makes
    d^2 = 1 / (2 sqrt(pi)) [ 1/n^2 sum_ij phi(|z_i - z_j|^2 / (4 g)) / sqrt(g) + 1 / sqrt(1 + g)
                             - 2/n sum_i phi(|z_i|^2 / (2 + 4 g)) / sqrt(g + 1/2) ]
    Shape: z (n, D); result (), above 0 but for rounding.
    Source: Knop et al. 2020, theorem 3. They put (1 + 4 s / (2 D - 3))^(-1/2) for phi(s), which holds for many
    dimensions only: with it N(0, I) stays at a distance (for 128 codes and D = 8, d^2 = 0.013 instead of 0.003), and
    what minimises it has variances above 1 (3.2 for D = 2, 1.15 for D = 8). Here phi is itself.
    """
    n, size = z.shape
    g = math.pow(4 / (3 * n), 0.4)
    # Distances do not change with the origin, and their rounding errors are least with the codes around it.
    different = 1 - torch.eye(n, dtype=z.dtype, device=z.device)
    centred = z - z.mean(0)
    apart = squared_distances(centred, centred) * different
    own = phi(apart / (4 * g), size).mean() / math.sqrt(g)
    cross = phi(z.square().sum(1) / (2 + 4 * g), size).mean() / math.sqrt(g + 0.5)
    return (own + 1 / math.sqrt(1 + g) - 2 * cross) / (2 * math.sqrt(math.pi))


def phi(s: Tensor, size: int) -> Tensor:
    """1F1(1/2; D/2; -s), the mean of exp(-s v_1^2) over directions v, for s >= 0; to 1e-6 and better of its value.

    Source: Knop et al. 2020 (there phi_D). In one dimension it is exp(-s), so codes that are far off have no gradient
    to speak of; from two on it falls as s^(-1/2) in the end and they keep one.
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
    """The polynomial p, from the highest power down, of phi(s) = p(2 u - 1) sqrt(u) with u = (D + 4) / (D + 4 + s).

    Both phi and sqrt(u) fall from 1 as s^(-1/2) in the end, so their ratio is smooth in u on all of [0, 1].
    """
    # Of degree 16: errors up to 4e-7 of phi and 2e-5 of its derivative in two dimensions, 5e-8 and 2e-6 in more.
    x = chebyshev.chebpts1(17)
    u = (x + 1) / 2
    ratio = hyp1f1(0.5, size / 2, -(size + 4) * (1 / u - 1)) / np.sqrt(u)
    powers = chebyshev.cheb2poly(chebyshev.chebfit(x, ratio, 16))
    return tuple(float(power) for power in powers[::-1])

"""Energy distance between the codes of a batch and draws of the prior."""

import torch
from torch import Tensor

from latentbench.regularizers.base import Latents, Regularizer


class EnergyDistance(Regularizer):
    """R = 2 E|z - y| - E|z - z'| - E|y - y'|, z and z' codes, y and y' draws of the prior.

    Source: Székely & Rizzo 2013, Energy statistics. Means are over all pairs of a batch, those of a code with itself
    included, so that R is at least 0.
    """

    trains_prior = "draws"

    def forward(self, latents: Latents) -> Tensor:
        codes, draws = latents.z, latents.prior_samples()
        return 2 * mean_distance(codes, draws) - mean_distance(codes, codes) - mean_distance(draws, draws)


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """The mean of |a_i - b_j| over all pairs."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").mean()

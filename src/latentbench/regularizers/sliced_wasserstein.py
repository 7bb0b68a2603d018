"""Sliced Wasserstein distance between the codes and the prior."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from latentbench.errors import check_whole_number
from latentbench.regularizers.base import Latents, Regularizer


class SlicedWasserstein(Regularizer):
    """R = mean over random directions v of W_2^2 between the projections v.z of codes and of as many samples of p(z).

    The directions are drawn uniformly on the unit sphere, anew for every batch. Shifting the codes by m adds |m|^2 / D.
    Units: those of z squared.
    Raises: UserError for fewer than one projection.
    Source: Kolouri et al. 2019 (SWAE), algorithm 1.
    """

    trains_prior = "draws"

    def __init__(self, *, latent_size: int, projections: int) -> None:
        super().__init__(latent_size=latent_size)
        self.projections = check_whole_number("regularizer.projections", projections, minimum=1)

    def forward(self, latents: Latents) -> Tensor:
        z = latents.z
        directions = normalize(torch.randn(self.projections, z.shape[1], dtype=z.dtype, device=z.device))
        return sliced_wasserstein_squared(z, latents.prior_samples(), directions)


def sliced_wasserstein_squared(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """Mean over directions of the squared 2-Wasserstein distance between projections of two sets of equal size.

    In one dimension, optimal transport keeps the order: W_2^2 = mean_i (a_(i) - b_(i))^2 of the sorted projections.
    Shape: a (N, D), b (N, D), directions (L, D), unit vectors; result ().
    """
    # One direction per row, so that the values to sort are contiguous in memory.
    sorted_a, sorted_b = ((directions @ points.T).sort(dim=1).values for points in (a, b))
    return (sorted_a - sorted_b).square().mean()

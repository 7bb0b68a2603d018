"""Sliced Wasserstein distance between the codes and the prior."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from latentbench.errors import check_whole_number
from latentbench.regularizers.base import Latents, Regularizer


class SlicedWasserstein(Regularizer):
    """R = mean over random directions v of W_2^2 between the projections v.z of codes and of as many draws of p(z).

    The directions are new for every batch, evenly distributed on the unit sphere. In units of z squared: codes that
    are off by a shift m cost |m|^2 / D. Raises: UserError for fewer than one projection.
    Source: Kolouri et al. 2019 (SWAE), algorithm 1.
    """

    trains_prior = "draws"

    def __init__(self, *, latent_size: int, projections: int) -> None:
        super().__init__(latent_size=latent_size)
        self.projections = check_whole_number("regularizer.projections", projections, minimum=1)

    def forward(self, latents: Latents) -> Tensor:
        """R."""
        z = latents.z
        directions = normalize(torch.randn(self.projections, z.shape[1], dtype=z.dtype, device=z.device))
        return sliced_wasserstein_squared(z, latents.draws(), directions)


def sliced_wasserstein_squared(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """Mean over directions of the squared 2-Wasserstein distance between the projections of two sets of one size.

    On a line the best transport keeps the order: W_2^2 = mean_i (a_(i) - b_(i))^2 of the sorted projections.
    Shape: a (N, D), b (N, D), unit vectors (L, D); result ().
    """
    # Rows are what is sorted: points of one direction then lie side by side in memory.
    of_a, of_b = ((directions @ points.T).sort(dim=1).values for points in (a, b))
    return (of_a - of_b).square().mean()

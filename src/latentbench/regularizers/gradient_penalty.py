"""Squared norm of the codes plus squared gradient of the decoded pixels (RAE-GP)."""

import torch
from torch import Tensor

from latentbench.errors import check_number
from latentbench.regularizers.base import Latents
from latentbench.regularizers.squared_norm import SquaredNorm


class GradientPenalty(SquaredNorm):
    """R = E |z|^2 / 2 + decoder_weight E |d/dz sum_p D_p(z)^2|^2, where D_p(z) are the pixels of the decoded image.

    Source: the authors' code of Ghosh et al. 2020 (RAE-GP), whose weight is published. Section 3.1 of the paper has the
    squared norm of the Jacobian dD/dz in its place.
    """

    def __init__(self, *, latent_size: int, decoder_weight: float) -> None:
        super().__init__(latent_size=latent_size)
        self.decoder_weight = check_number("regularizer.decoder_weight", decoder_weight, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        with torch.enable_grad():  # validation runs without gradients
            z = latents.z if latents.z.requires_grad else latents.z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(latents.decode(z).square().sum(), z, create_graph=True)
        return super().forward(latents) + self.decoder_weight * slope.square().sum(1).mean()

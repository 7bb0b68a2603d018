"""Squared norm of the codes plus squared norm of the decoder's Jacobian (RAE-GP)."""

import torch
from torch import Tensor

from latentbench.errors import check_number
from latentbench.regularizers.base import Latents
from latentbench.regularizers.squared_norm import SquaredNorm


class GradientPenalty(SquaredNorm):
    """R = E |z|^2 / 2 + decoder_weight E |dD(z)/dz|^2, where D(z) is the decoder's raw output.

    The squared Frobenius norm of the Jacobian J is estimated without bias from one random projection per image:
    |J|^2 = E |J^T v|^2 with v ~ N(0, I) (Hutchinson 1990).
    Source: Ghosh et al. 2020 (RAE-GP), equation 11 and section 3.1.
    """

    def __init__(self, *, latent_size: int, decoder_weight: float) -> None:
        super().__init__(latent_size=latent_size)
        self.decoder_weight = check_number("regularizer.decoder_weight", decoder_weight, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        with torch.enable_grad():  # validation runs without gradients
            z = latents.z if latents.z.requires_grad else latents.z.detach().requires_grad_()
            raw = latents.decoder(z)
            (projection,) = torch.autograd.grad(raw, z, torch.randn_like(raw), create_graph=True)
        return super().forward(latents) + self.decoder_weight * projection.square().sum(1).mean()

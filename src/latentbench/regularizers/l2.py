"""Squared norm of the codes plus squared norm of the decoder's weights (RAE-L2)."""

import torch
from torch import Tensor

from latentbench.errors import check_number
from latentbench.regularizers.base import Latents
from latentbench.regularizers.squared_norm import SquaredNorm


class L2(SquaredNorm):
    """R = E |z|^2 / 2 + decoder_weight |theta|^2, where theta are all parameters of the decoder.

    Source: Ghosh et al. 2020 (RAE-L2), equation 11 and section 3.1.
    """

    def __init__(self, *, latent_size: int, decoder_weight: float) -> None:
        super().__init__(latent_size=latent_size)
        self.decoder_weight = check_number("regularizer.decoder_weight", decoder_weight, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        squared_norm = torch.stack([weight.square().sum() for weight in latents.decoder.parameters()]).sum()
        return super().forward(latents) + self.decoder_weight * squared_norm

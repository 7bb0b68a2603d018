"""Squared norm of the codes plus squared norm of the decoder's weights (RAE-L2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentbench.errors import check_number
from latentbench.regularizers.base import Latents
from latentbench.regularizers.squared_norm import SquaredNorm


class L2(SquaredNorm):
    """R = E |z|^2 / 2 + decoder_weight D |theta|^2, where theta are the weights of the decoder's layers without biases.

    In a decoder with convolutions they are the convolutions' kernels, in another the matrices of all layers but the
    first. The factor D is there because the published loss has the mean of z^2 over dimensions.
    Source: Ghosh et al. 2020 (RAE-L2), equation 11 and section 3.1. There theta are all parameters of the decoder; the
    authors' code penalizes the kernels of the transposed convolutions, not those of the dense layer before them.
    """

    def __init__(self, *, latent_size: int, decoder_weight: float) -> None:
        super().__init__(latent_size=latent_size)
        self.decoder_weight = check_number("regularizer.decoder_weight", decoder_weight, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        squared_norm = torch.stack([weight.square().sum() for weight in penalized_weights(latents.decoder)]).sum()
        return super().forward(latents) + self.decoder_weight * self.latent_size * squared_norm


def penalized_weights(decoder: nn.Module) -> Sequence[Tensor]:
    """The kernels of the convolutions; without any the matrices of all layers but the first, or of the only one."""
    weights = [weight for weight in decoder.parameters() if weight.dim() > 1]
    return [weight for weight in weights if weight.dim() > 2] or weights[1:] or weights

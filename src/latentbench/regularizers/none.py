"""No regularizer."""

from torch import Tensor

from latentbench.regularizers.base import Latents, Regularizer


class NoRegularizer(Regularizer):
    """R = 0, as for a plain autoencoder."""

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        return latents.z.new_zeros(())

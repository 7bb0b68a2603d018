"""Affine maps."""

import math

from torch import nn

from latentbench.backbones.base import Backbone


class LinearBackbone(Backbone):
    """Features are the pixels themselves and the decoder is affine.

    With the affine layer of a posterior the encoder is affine too; with a Gaussian likelihood the model is
    probabilistic PCA. Source: Tipping & Bishop 1999, equation 1.
    """

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int) -> None:
        super().__init__(shape=shape, latent_size=latent_size)
        self.features = math.prod(shape)
        self.encoder = nn.Flatten()
        self.decoder = nn.Sequential(nn.Linear(latent_size, self.features), nn.Unflatten(1, shape))

"""Linear encoder and decoder."""

import math

from torch import nn

from latentbench.backbones.base import Backbone


class LinearBackbone(Backbone):
    """The features are the pixels themselves, and the decoder is one linear layer with a bias.

    Together with the model's linear layer from features to the posterior, the encoder is linear too. With a Gaussian
    likelihood the model is probabilistic PCA.
    Source: Tipping & Bishop 1999, equation 1.
    """

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int, raw_channels: int) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        self.features = math.prod(shape)
        self.encoder = nn.Flatten()
        raw = self.raw_shape
        self.decoder = nn.Sequential(nn.Linear(latent_size, math.prod(raw)), nn.Unflatten(1, raw))

"""The contract of a backbone: an encoder network and the decoder network that goes with it."""

import math
from abc import ABC

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

MANY_NUMBERS = 2**22  # of raw outputs in memory at once, 16 MiB


class Backbone(nn.Module, ABC):
    """The networks of a model, from images to features and from latents to raw outputs.

    To add one, subclass Backbone and set `encoder`, `decoder` and `features` in the constructor. The model adds a
    linear layer from the features to the parameters of the posterior; the likelihood turns raw outputs into pixels.
    raw_channels: channels of the raw output, which a likelihood may want more of than images have
    Requirements:
    - any image shape works, at least from 8x8 pixels on, and so does any latent_size;
    - encoder and decoder share no parameters;
    - the output for an image or latent depends on it alone, also in training (no batch normalization), and no random
      numbers are drawn (no dropout), since several processes may each compute a part of a batch.
    """

    encoder: nn.Module  # images (B, C, H, W) in [0, 1] to features (B, F)
    decoder: nn.Module  # latents (B, D) to raw outputs (B, C', H, W) = (B, *raw_shape), any real numbers
    features: int  # F

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int, raw_channels: int) -> None:
        super().__init__()
        self.shape = shape
        self.raw_shape = (raw_channels, *shape[1:])
        self.latent_size = latent_size

    def rows_at_once(self, most: int) -> int:
        """How many latents to decode at once: `most`, or fewer if a likelihood wants several numbers per pixel."""
        return most if self.raw_shape == self.shape else max(1, min(most, MANY_NUMBERS // math.prod(self.raw_shape)))

    def encode(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x)
        return features

    def decode(self, z: Tensor) -> Tensor:
        raw: Tensor = self.decoder(z)
        return raw


def normalize_spectrally(network: nn.Module) -> None:
    """Divide the weight of every linear and convolutional layer by its largest singular value.

    A convolution kernel is treated as a matrix (outputs, everything else). One power iteration per forward pass in
    training keeps track of the singular value. Call this only once per network.
    Source: Miyato et al. 2018, equation 8 and appendix A.
    """
    for layer in list(network.modules()):
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:  # in a normalization layer it is a vector
            spectral_norm(layer)

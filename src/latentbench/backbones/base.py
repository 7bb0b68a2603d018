"""The contract of a backbone: an encoder network and the decoder network that goes with it."""

import math
from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import spectral_norm

from latentbench.errors import Refused

MANY_NUMBERS = 2**22  # of raw outputs in memory at once, 16 MiB


class Backbone(nn.Module, ABC):
    """The networks of a model, from images to features and from latents to raw outputs.

    To add one, subclass Backbone and set `encoder`, `decoder` and `features` in the constructor. `head` makes the layer
    from the features to the parameters of the posterior; the likelihood turns raw outputs into pixels. Subclass
    SpatialBackbone instead for latents on a grid. Requirements:
    - any image shape works, unless `size` says which, and so does any latent_size;
    - encoder and decoder share no parameters;
    - in evaluation mode the output for an image or latent depends on it alone. In training only batch normalization
      may mix images: several processes that compute a part of a batch each share its means and variances, and the
      random numbers of dropout they could not share.

    latent_size: length D of a latent vector.
    raw_channels: channels of the raw output, which a likelihood may want more of than images have
    Raises: Refused for images of another size than `size`.
    """

    size: ClassVar[tuple[int, int] | None] = None  # (H, W) of the images that it is for; None: any
    encoder: nn.Module  # images (B, C, H, W) in [0, 1] to features (B, F)
    decoder: nn.Module  # latents (B, D) to raw outputs (B, C', H, W) = (B, *raw_shape), any real numbers
    features: int  # F
    latent_shape: tuple[int, int, int] | None = None  # (C, H, W) of latents on a grid; None: they are mere vectors

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int, raw_channels: int) -> None:
        super().__init__()
        if self.size and self.size != shape[1:]:
            (height, width), name = self.size, type(self).__name__
            raise Refused(
                f"{name} is for images of {height}x{width} pixels, and these have {shape[1]}x{shape[2]}: take "
                f"backbone=conv or resnet, which are for any, or images of {height}x{width} pixels"
            )
        self.shape = shape
        self.raw_shape = (raw_channels, *shape[1:])
        self.latent_size = latent_size

    @classmethod
    def grid(cls, *, shape: tuple[int, int, int], settings: Mapping[str, Any]) -> tuple[int, int] | None:
        """Height and width of the grid of latents; None: latents have no grid. See SpatialBackbone."""
        return None

    def head(self, inputs: int) -> nn.Module:
        """The layer from features (B, F) to the `inputs` numbers of the posterior, (B, inputs)."""
        return nn.Linear(self.features, inputs)

    def rows_at_once(self, most: int) -> int:
        """How many latents to decode at once: `most`, or fewer if a likelihood wants several numbers per pixel."""
        return most if self.raw_shape == self.shape else max(1, min(most, MANY_NUMBERS // math.prod(self.raw_shape)))

    def encode(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x)
        return features

    def decode(self, z: Tensor) -> Tensor:
        raw: Tensor = self.decoder(z)
        return raw


def batch_normalizations(network: nn.Module) -> list[_BatchNorm]:
    """The layers that normalize by means and variances over the batch, in training."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


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

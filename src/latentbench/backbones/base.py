"""The contract of a backbone: an encoder's trunk and a decoder that belong together."""

from abc import ABC

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Backbone(nn.Module, ABC):
    """encode(x: (B, C, H, W)) -> (B, F) features; decode(z: (B, D)) -> raw (B, C, H, W), any real numbers.

    What the raw output means is the likelihood's business. `encoder` and `decoder` share no parameters.
    """

    encoder: nn.Module
    decoder: nn.Module
    features: int  # F

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int) -> None:
        super().__init__()
        self.shape = shape
        self.latent_size = latent_size

    def encode(self, x: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, H, W)."""
        features: Tensor = self.encoder(x)
        return features

    def decode(self, z: Tensor) -> Tensor:
        """Raw output (B, C, H, W) for latents (B, D)."""
        raw: Tensor = self.decoder(z)
        return raw


def normalise_spectrally(network: nn.Module) -> None:
    """Divide the weight of each linear and convolutional layer by its largest singular value; once per network.

    A kernel counts as a matrix (outputs, all else). One power iteration a forward pass in training follows the value.
    Source: Miyato et al. 2018, equation 8 and appendix A.
    """
    for layer in list(network.modules()):
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:  # of a normalization layer it is a vector
            spectral_norm(layer)

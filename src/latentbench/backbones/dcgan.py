"""The networks of DCGAN."""

from itertools import pairwise
from typing import ClassVar

from torch import nn

from latentbench.backbones.base import Backbone
from latentbench.backbones.wae_celeba import FromMinusOneToOne

CHANNELS = (128, 256, 512, 1024)
STANDARD_DEVIATION = 0.02  # of the first weights


class DCGANBackbone(Backbone):
    """5x5 convolutions of stride 2 to 1024 maps of 4x4, and transposed ones back; batch normalization, no biases.

    The encoder has leaky ReLUs of slope 0.2 and no normalization of its first layer, the decoder ReLUs. Number of
    channels: any; the paper's images have three. Weights start from N(0, 0.02^2), the gains of normalizations from
    N(1, 0.02^2).
    Source: Radford et al. 2016, section 3 and figure 1, and the authors' code. Where we differ: the decoder ends with a
    tanh there; here `model=gan` adds a sigmoid, which is a tanh stretched to [0, 1]. The discriminator's last layer is
    the model's: it has a bias, and torch's first weights.
    """

    size: ClassVar[tuple[int, int] | None] = (64, 64)

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int, raw_channels: int) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        flat = CHANNELS[-1] * 4 * 4
        self.features = flat
        down: list[nn.Module] = []
        for before, after in pairwise((shape[0], *CHANNELS)):
            normalization = [nn.BatchNorm2d(after)] if down else []
            down += [nn.Conv2d(before, after, 5, stride=2, padding=2, bias=False), *normalization, nn.LeakyReLU(0.2)]
        self.encoder = nn.Sequential(FromMinusOneToOne(), *down, nn.Flatten())
        up: list[nn.Module] = [nn.Linear(latent_size, flat, bias=False), nn.BatchNorm1d(flat), nn.ReLU()]
        up.append(nn.Unflatten(1, (CHANNELS[-1], 4, 4)))
        for before, after in pairwise(reversed(CHANNELS)):
            up += [_transposed(before, after), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*up, _transposed(CHANNELS[0], self.raw_shape[0]))
        self.apply(_start)


def _transposed(before: int, after: int) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1, bias=False)


def _start(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, std=STANDARD_DEVIATION)
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1.0, std=STANDARD_DEVIATION)

"""The networks of Wasserstein autoencoders on CelebA."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from latentbench.backbones.base import Backbone

CHANNELS = (128, 256, 512, 1024)
STANDARD_DEVIATION = 0.0099999  # of the first weights


class WAECelebA(Backbone):
    """5x5 convolutions of stride 2 to 1024 maps of 4x4; transposed ones from maps of 8x8; batch normalization and ReLU.

    Number of channels: any; the paper's images have three. The last layer of the decoder has stride 1. Weights start
    from N(0, 0.01^2), those of convolutions cut at two standard deviations, and biases from 0.
    Source: Tolstikhin et al. 2018, appendix on CelebA, and the authors' code. Where we differ: the likelihood turns raw
    outputs into pixels, there the decoder ends with a tanh; where a side is padded by 1 and 2 pixels, the code has the
    2 at the lower right, we at the upper left, which is the same for mirrored images; no noise is added to images.
    """

    size: ClassVar[tuple[int, int] | None] = (64, 64)

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int, raw_channels: int) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        down: list[nn.Module] = []
        for before, after in pairwise((shape[0], *CHANNELS)):
            down += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = CHANNELS[-1] * 4 * 4
        self.encoder = nn.Sequential(FromMinusOneToOne(), *down, nn.Flatten())
        up: list[nn.Module] = []
        for before, after in pairwise(reversed(CHANNELS)):
            up += [
                nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, CHANNELS[-1] * 8 * 8),
            nn.ReLU(),
            nn.Unflatten(1, (CHANNELS[-1], 8, 8)),
            *up,
            nn.ConvTranspose2d(CHANNELS[0], self.raw_shape[0], 5, padding=2),
        )
        self.apply(_start)

    def head(self, inputs: int) -> nn.Module:
        return super().head(inputs).apply(_start)


class FromMinusOneToOne(nn.Module):
    """2 x - 1: pixels in [0, 1] as numbers in [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


def _start(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.trunc_normal_(layer.weight, std=STANDARD_DEVIATION, a=-2 * STANDARD_DEVIATION, b=2 * STANDARD_DEVIATION)
    elif isinstance(layer, nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, std=STANDARD_DEVIATION)
    else:
        return
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)

"""The convolutional networks of Pythae's benchmark, for images of three sizes."""

from abc import abstractmethod
from itertools import pairwise
from math import prod
from typing import ClassVar

from torch import nn

from latentbench.backbones.base import Backbone

CHANNELS = (128, 256, 512, 1024)


class PythaeBackbone(Backbone):
    """Four 4x4 convolutions of stride 2 to 1024 feature maps; transposed convolutions; batch normalization and ReLU.

    Number of channels: any. Pythae's images have one (MNIST) or three.
    Source: Chadebec et al. 2022 (Pythae), and its code, pythae/models/nn/benchmarks. Where we differ: the likelihood
    turns raw outputs into pixels, there the decoder ends with a sigmoid.
    """

    encoded: ClassVar[tuple[int, int]]  # (H, W) of the encoder's last feature maps
    decoded: ClassVar[tuple[int, int]]  # (H, W) of the decoder's first ones

    def __init__(self, *, shape: tuple[int, int, int], latent_size: int, raw_channels: int) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        down: list[nn.Module] = []
        for before, after in pairwise((shape[0], *CHANNELS)):
            down += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = CHANNELS[-1] * prod(self.encoded)
        self.encoder = nn.Sequential(*down, nn.Flatten())
        first = (CHANNELS[-1], *self.decoded)
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, prod(first)), nn.Unflatten(1, first), *self.upsampling(self.raw_shape[0])
        )

    @abstractmethod
    def upsampling(self, raw_channels: int) -> list[nn.Module]:
        """The decoder's layers from 1024 feature maps to the image."""


def _up(before: int, after: int, kernel: int, *, padding: int, output_padding: int = 0) -> list[nn.Module]:
    """A transposed convolution of stride 2, batch normalization and ReLU."""
    up = nn.ConvTranspose2d(before, after, kernel, stride=2, padding=padding, output_padding=output_padding)
    return [up, nn.BatchNorm2d(after), nn.ReLU()]


class PythaeMNIST(PythaeBackbone):
    """PythaeBackbone for 28x28 pixels; the decoder has 3x3 kernels on maps of 4, 7, 14 and 28 pixels a side."""

    size: ClassVar[tuple[int, int] | None] = (28, 28)
    encoded: ClassVar[tuple[int, int]] = (1, 1)
    decoded: ClassVar[tuple[int, int]] = (4, 4)

    def upsampling(self, raw_channels: int) -> list[nn.Module]:
        last = nn.ConvTranspose2d(256, raw_channels, 3, stride=2, padding=1, output_padding=1)
        return [*_up(1024, 512, 3, padding=1), *_up(512, 256, 3, padding=1, output_padding=1), last]


class PythaeCIFAR(PythaeBackbone):
    """PythaeBackbone for 32x32 pixels; the decoder has 4x4 kernels on maps of 8, 16, 33 and 32 pixels a side."""

    size: ClassVar[tuple[int, int] | None] = (32, 32)
    encoded: ClassVar[tuple[int, int]] = (2, 2)
    decoded: ClassVar[tuple[int, int]] = (8, 8)

    def upsampling(self, raw_channels: int) -> list[nn.Module]:
        last = nn.ConvTranspose2d(256, raw_channels, 4, padding=2)
        return [*_up(1024, 512, 4, padding=1), *_up(512, 256, 4, padding=1, output_padding=1), last]


class PythaeCelebA(PythaeBackbone):
    """PythaeBackbone for 64x64 pixels; the decoder has 5x5 kernels on maps of 8, 15, 31, 62 and 64 pixels a side."""

    size: ClassVar[tuple[int, int] | None] = (64, 64)
    encoded: ClassVar[tuple[int, int]] = (4, 4)
    decoded: ClassVar[tuple[int, int]] = (8, 8)

    def upsampling(self, raw_channels: int) -> list[nn.Module]:
        up = [*_up(1024, 512, 5, padding=2), *_up(512, 256, 5, padding=1)]
        up += _up(256, 128, 5, padding=2, output_padding=1)
        return [*up, nn.ConvTranspose2d(128, raw_channels, 5, padding=1)]

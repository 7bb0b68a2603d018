"""Convolutional networks for images of any size."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from latentbench.backbones.base import Backbone
from latentbench.errors import check_whole_number, check_widths


class ConvBackbone(Backbone):
    """The encoder has strided 3x3 convolutions, the decoder nearest-neighbour resizing and 3x3 convolutions.

    The decoder resizes to the sizes of the encoder's feature maps, in reverse order. This works for images of any size
    and avoids checkerboard artifacts.
    Source: Odena et al. 2016, Deconvolution and Checkerboard Artifacts (the decoder).
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        latent_size: int,
        channels: Sequence[int],
        hidden: int,
        raw_channels: int,
    ) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        channels = check_widths("backbone.channels", channels)
        check_whole_number("backbone.hidden", hidden, minimum=1)
        self.features = hidden
        down, sizes = downsampling(shape[0], channels), halved_sizes(shape[1:], len(channels))
        smallest = (channels[-1], *sizes[-1])
        flat = prod(smallest)
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU())
        up = upsampling(channels, sizes)
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, flat),
            nn.ReLU(),
            nn.Unflatten(1, smallest),
            *up,
            nn.Conv2d(channels[0], self.raw_shape[0], 3, padding=1),
        )


def halved_sizes(size: tuple[int, int], times: int) -> list[tuple[int, int]]:
    """Height and width before the first halving, and after each, rounded up."""
    sizes = [size]
    for _ in range(times):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def downsampling(image_channels: int, channels: list[int]) -> list[nn.Module]:
    """Strided convolutions, each of which halves height and width."""
    down: list[nn.Module] = []
    for before, after in pairwise([image_channels, *channels]):
        down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return down


def upsampling(channels: list[int], sizes: list[tuple[int, int]]) -> list[nn.Module]:
    """Resizing and convolutions, from channels[-1] maps of the last size to channels[0] maps of the first."""
    up: list[nn.Module] = []
    for (before, after), target in zip(pairwise([*reversed(channels), channels[0]]), reversed(sizes[:-1]), strict=True):
        up += [nn.Upsample(size=target), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return up

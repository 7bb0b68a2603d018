"""Residual networks for images of any size."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from latentbench.backbones.base import Backbone
from latentbench.backbones.conv import halved_sizes
from latentbench.errors import check_whole_number, check_widths

CHANNELS_PER_GROUP = 16


class ResNetBackbone(Backbone):
    """The encoder has residual blocks and average pooling, the decoder nearest-neighbour resizing and residual blocks.

    The decoder resizes to the sizes of the encoder's feature maps, in reverse order, so that images of any size work.
    Group normalization, unlike batch normalization, makes the code of an image independent of the rest of the batch.
    Source: He et al. 2016b, figure 1b (pre-activation); Wu & He 2018 (group normalization). He et al. also normalize
    the output of the last block. We do not, since this would fix the contrast of what is encoded and decoded.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        latent_size: int,
        channels: Sequence[int],
        blocks: int,
        hidden: int,
        raw_channels: int,
    ) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        channels = check_widths("backbone.channels", channels)
        check_whole_number("backbone.hidden", hidden, minimum=1)
        check_whole_number("backbone.blocks", blocks, minimum=1)
        self.features = hidden
        down, sizes = downsampling(channels, blocks), halved_sizes(shape[1:], len(channels))
        smallest = (channels[-1], *sizes[-1])
        flat = prod(smallest)
        self.encoder = nn.Sequential(
            nn.Conv2d(shape[0], channels[0], 3, padding=1),
            *down,
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, hidden),
            nn.ReLU(),
        )
        up = upsampling(channels, sizes, blocks)
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, flat),
            nn.Unflatten(1, smallest),
            *up,
            nn.ReLU(),
            nn.Conv2d(channels[0], self.raw_shape[0], 3, padding=1),
        )


def downsampling(channels: list[int], blocks: int) -> list[nn.Module]:
    """Residual blocks and average pooling, from channels[0] feature maps to channels[-1] smaller ones."""
    down: list[nn.Module] = []
    for before, after in pairwise([channels[0], *channels]):
        down += [*_blocks(before, after, blocks), nn.AvgPool2d(2, ceil_mode=True)]
    return down


def upsampling(channels: list[int], sizes: list[tuple[int, int]], blocks: int) -> list[nn.Module]:
    """Resizing and residual blocks, from channels[-1] maps of the last size to channels[0] maps of the first."""
    up: list[nn.Module] = []
    for (before, after), target in zip(pairwise([*reversed(channels), channels[0]]), reversed(sizes[:-1]), strict=True):
        up += [nn.Upsample(size=target), *_blocks(before, after, blocks)]
    return up


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) with 3x3 convolutions.

    If the number of channels changes, the first x is passed through a 1x1 convolution.
    Shape: (B, before, H, W) -> (B, after, H, W).
    """

    def __init__(self, *, before: int, after: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_activation(before),
            nn.Conv2d(before, after, 3, padding=1),
            *_activation(after),
            nn.Conv2d(after, after, 3, padding=1),
        )
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x) + self.branch(x)
        return y


def _blocks(before: int, after: int, n: int) -> list[nn.Module]:
    return [ResidualBlock(before=before if i == 0 else after, after=after) for i in range(n)]


def _activation(channels: int) -> list[nn.Module]:
    """Group normalization and ReLU, with the largest number of equal groups that have at least 16 channels each."""
    max_groups = max(1, channels // CHANNELS_PER_GROUP)
    groups = next(groups for groups in range(max_groups, 0, -1) if channels % groups == 0)
    return [nn.GroupNorm(groups, channels), nn.ReLU()]

"""Backbones whose latents lie on a grid, as the pixels of an image do."""

from abc import abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from latentbench.backbones.base import Backbone
from latentbench.errors import Refused


class SpatialBackbone(Backbone):
    """A latent vector (B, H W C) lists the C numbers of the first position of an H x W grid, then of the next, by rows.

    To add one, subclass SpatialBackbone, implement `grid`, and pass what it gives to the constructor. The decoder
    begins with `OnGrid`. The encoder's features are `maps` feature maps on the grid, flattened; each position's
    parameters of the posterior are a linear function of its features alone (a 1x1 convolution).
    Raises: Refused if latents do not fit on the grid.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        latent_size: int,
        grid: tuple[int, int],
        maps: int,
        raw_channels: int,
    ) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        if latent_size % prod(grid):
            raise Refused(
                f"latents of {latent_size} numbers do not fit on the {grid[0]}x{grid[1]} positions of "
                f"{type(self).__name__}: take a prior other than hypersphere, or backbone=conv or resnet"
            )
        self.latent_shape = (latent_size // prod(grid), *grid)
        self.maps = maps
        self.features = maps * prod(grid)

    @classmethod
    @abstractmethod
    def grid(cls, *, shape: tuple[int, int, int], settings: Mapping[str, Any]) -> tuple[int, int]:
        """Height and width of the grid of latents.

        shape: (C, H, W) of the images; settings: the keys of the YAML, such as `channels`
        """

    def head(self, inputs: int) -> nn.Module:
        """See SpatialHead. inputs: a multiple of the length of a latent vector"""
        assert self.latent_shape is not None
        return SpatialHead(self.maps, self.latent_shape, per_coordinate=inputs // self.latent_size)


class SpatialHead(nn.Module):
    """A 1x1 convolution from flattened feature maps (B, F H W) to a posterior's numbers (B, per_coordinate * H W C).

    The first number of every latent coordinate comes first, in the order of a latent vector, then the second of every
    one: first all locations, say, then all scales.
    """

    def __init__(self, maps: int, latent_shape: tuple[int, int, int], *, per_coordinate: int) -> None:
        super().__init__()
        channels, *grid = latent_shape
        self.unflatten = nn.Unflatten(1, (maps, *grid))
        self.per_position = (per_coordinate, channels)
        self.convolution = nn.Conv2d(maps, per_coordinate * channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        numbers: Tensor = self.convolution(self.unflatten(features)).unflatten(1, self.per_position)
        return numbers.movedim(2, -1).flatten(1)


class OnGrid(nn.Module):
    """Latent vectors (B, H W C) as maps (B, C, H, W)."""

    def __init__(self, latent_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = latent_shape
        self.position_wise = (height, width, channels)

    def forward(self, z: Tensor) -> Tensor:
        maps: Tensor = z.unflatten(1, self.position_wise)
        return maps.movedim(-1, 1)

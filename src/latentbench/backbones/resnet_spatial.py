"""Residual networks whose latents lie on a grid."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from latentbench.backbones.conv import halved_sizes
from latentbench.backbones.resnet import downsampling, upsampling
from latentbench.backbones.spatial import OnGrid, SpatialBackbone
from latentbench.errors import check_whole_number, check_widths


class ResNetSpatialBackbone(SpatialBackbone):
    """The residual blocks of ResNetBackbone without its fully connected layers: latents lie on the smallest maps.

    Source: van den Oord et al. 2017 (latents on a grid); the layers are those of ResNetBackbone.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        latent_size: int,
        channels: Sequence[int],
        blocks: int,
        raw_channels: int,
    ) -> None:
        grid = self.grid(shape=shape, settings={"channels": channels})
        super().__init__(shape=shape, latent_size=latent_size, grid=grid, maps=channels[-1], raw_channels=raw_channels)
        channels = list(channels)
        check_whole_number("backbone.blocks", blocks, minimum=1)
        assert self.latent_shape is not None
        self.encoder = nn.Sequential(
            nn.Conv2d(shape[0], channels[0], 3, padding=1), *downsampling(channels, blocks), nn.ReLU(), nn.Flatten()
        )
        self.decoder = nn.Sequential(
            OnGrid(self.latent_shape),
            nn.Conv2d(self.latent_shape[0], channels[-1], 3, padding=1),
            *upsampling(channels, halved_sizes(shape[1:], len(channels)), blocks),
            nn.ReLU(),
            nn.Conv2d(channels[0], self.raw_shape[0], 3, padding=1),
        )

    @classmethod
    def grid(cls, *, shape: tuple[int, int, int], settings: Mapping[str, Any]) -> tuple[int, int]:
        return halved_sizes(shape[1:], len(check_widths("backbone.channels", settings.get("channels"))))[-1]

"""Convolutional networks whose latents lie on a grid."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from latentbench.backbones.conv import downsampling, halved_sizes, upsampling
from latentbench.backbones.spatial import OnGrid, SpatialBackbone
from latentbench.errors import check_widths


class ConvSpatialBackbone(SpatialBackbone):
    """The convolutions of ConvBackbone without its fully connected layers: latents lie on the smallest feature maps.

    A latent depends on a part of the image alone, and the decoder makes a part of it.
    Source: van den Oord et al. 2017 (latents on a grid); the layers are those of ConvBackbone.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        latent_size: int,
        channels: Sequence[int],
        raw_channels: int,
    ) -> None:
        grid = self.grid(shape=shape, settings={"channels": channels})
        super().__init__(shape=shape, latent_size=latent_size, grid=grid, maps=channels[-1], raw_channels=raw_channels)
        channels = list(channels)
        assert self.latent_shape is not None
        self.encoder = nn.Sequential(*downsampling(shape[0], channels), nn.Flatten())
        self.decoder = nn.Sequential(
            OnGrid(self.latent_shape),
            nn.Conv2d(self.latent_shape[0], channels[-1], 3, padding=1),
            nn.ReLU(),
            *upsampling(channels, halved_sizes(shape[1:], len(channels))),
            nn.Conv2d(channels[0], self.raw_shape[0], 3, padding=1),
        )

    @classmethod
    def grid(cls, *, shape: tuple[int, int, int], settings: Mapping[str, Any]) -> tuple[int, int]:
        return halved_sizes(shape[1:], len(check_widths("backbone.channels", settings.get("channels"))))[-1]

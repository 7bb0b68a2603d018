"""Convolutional networks for images of any size."""

from collections.abc import Sequence

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
        image_channels, *size = shape
        sizes = [tuple(size)]
        down: list[nn.Module] = []
        for before, after in zip([image_channels, *channels], channels, strict=False):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
            sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
        smallest = (channels[-1], *sizes[-1])
        flat = smallest[0] * smallest[1] * smallest[2]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU())

        up: list[nn.Module] = []
        narrowing = [*reversed(channels), channels[0]]
        for before, after, target in zip(narrowing, narrowing[1:], reversed(sizes[:-1]), strict=False):
            up += [nn.Upsample(size=target), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.decoder = nn.Sequential(
            nn.Linear(latent_size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, flat),
            nn.ReLU(),
            nn.Unflatten(1, smallest),
            *up,
            nn.Conv2d(channels[0], self.raw_shape[0], 3, padding=1),
        )

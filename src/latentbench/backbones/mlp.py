"""Fully connected networks."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import nn

from latentbench.backbones.base import Backbone
from latentbench.errors import check_widths


class MLPBackbone(Backbone):
    """Fully connected layers with ReLU, of widths `hidden` in the encoder and in reverse order in the decoder."""

    activation: ClassVar[type[nn.Module]] = nn.ReLU

    def __init__(
        self, *, shape: tuple[int, int, int], latent_size: int, hidden: Sequence[int], raw_channels: int
    ) -> None:
        super().__init__(shape=shape, latent_size=latent_size, raw_channels=raw_channels)
        hidden = check_widths("backbone.hidden", hidden)
        self.features = hidden[-1]
        self.encoder = nn.Sequential(nn.Flatten(), *self._layers([math.prod(shape), *hidden]))
        up, raw = [latent_size, *reversed(hidden)], self.raw_shape
        self.decoder = nn.Sequential(*self._layers(up), nn.Linear(up[-1], math.prod(raw)), nn.Unflatten(1, raw))

    def _layers(self, sizes: list[int]) -> list[nn.Module]:
        return [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), self.activation())]

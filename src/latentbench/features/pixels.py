"""The pixels themselves as features."""

import math

from torch import Tensor

from latentbench.features.base import Features


class PixelFeatures(Features):
    """An image's C H W pixels in a row, so that a distance between sets is of what they look like pixel by pixel.

    Nothing is learned and nothing is forgotten: two drawings of the same thing that lie a pixel apart are as far from
    each other as drawings of different things.
    """

    def __init__(self, *, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.name = "pixels"
        self.size = math.prod(shape)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, C H W), in [0, 1]."""
        return images.flatten(1)

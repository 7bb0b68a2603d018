"""The pixels themselves as features."""

import math

from torch import Tensor

from latentbench.features.base import Features


class PixelFeatures(Features):
    """The C H W pixels of an image, flattened. Sets of images are compared pixel by pixel.

    They keep all information, but do not express similarity of content: two drawings of the same object, one shifted by
    a pixel, may be as far apart as drawings of different objects.
    """

    def __init__(self, *, data_name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.name = "pixels"
        self.size = math.prod(shape)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, C H W), in [0, 1]."""
        return images.flatten(1)

"""Pixel noise, which passes for sharpness."""

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import Quantity
from latentbench.metrics.image_statistic import ImageStatistic, filtered

MASK = [[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]


def noise_level(images: Tensor) -> Tensor:
    """Standard deviation of white noise that would explain what is neither flat nor a straight edge.

    sigma = sqrt(pi / 2) / 6 * mean |image * M|, M = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]], away from the border
    Shape: (N, C, H, W), H and W at least 3 -> (N,), the mean over channels. Units: pixel range.
    M is the difference of two Laplacians: constant, linear and quadratic grey and edges along a row or a column give 0.
    Corners, strokes of a pixel's width and textures do not, and count as noise. Source: Immerkaer 1996, equation 4.
    """
    return math.sqrt(math.pi / 2) / 6 * filtered(images, MASK).abs().mean((1, 2))


class Noise(ImageStatistic):
    """`noise/<set>`, the mean estimate of white noise's standard deviation, and `noise_ratio/<set>`.

    The guard of `sharpness` and `high_frequency_energy`, which noise raises too: where noise makes an image of MNIST
    1.4 times as sharp its noise ratio is 2.5, where sharpening does, 1.35. On 8x8 digits, which are corners all over,
    it tells little: 1.4 and 1.3.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "noise": Quantity("pixel range", higher_is_better=None),
        "noise_ratio": Quantity("of real", higher_is_better=None),
    }

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """The estimate."""
        return {"noise": noise_level(images)}

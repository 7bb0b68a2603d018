"""Noise level of an image, because noise raises sharpness."""

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.image_statistic import ImageStatistic, filter_images, too_small_to_filter
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Quantity

MASK = [[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]


def noise_level(images: Tensor) -> Tensor:
    """Estimated standard deviation of white noise, from everything that is neither flat nor a straight edge.

    sigma = sqrt(pi / 2) / 6 * mean |image * M|, M = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]], away from the border

    Shape: (N, C, H, W), H and W at least 3 -> (N,), the mean over channels. Units: pixel range.
    M is the difference of two Laplacians. Its response is 0 to constant, linear and quadratic grey values and to edges
    along a row or a column. Corners, strokes of one pixel and textures count as noise.
    Source: Immerkaer 1996, equation 4.
    """
    return math.sqrt(math.pi / 2) / 6 * filter_images(images, MASK).abs().mean((1, 2))


class Noise(ImageStatistic):
    """`noise/<set>`, the mean estimate of the standard deviation of white noise, and `noise_ratio/<set>`.

    Read it beside `sharpness` and `high_frequency_energy`, which noise raises too. MNIST images that noise makes 1.4
    times as sharp have a noise ratio of 2.4; those that are made equally sharp by sharpening have 1.3. For 8x8 digits
    the two ratios are 1.6 and 1.3, and can hardly be told apart: corners, which count as noise, are everywhere.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "noise": Quantity("pixel range", higher_is_better=None),
        "noise_ratio": Quantity("of real", higher_is_better=None),
    }

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs at least 3x3 pixels."""
        return too_small_to_filter(inputs)

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        return {"noise": noise_level(images)}

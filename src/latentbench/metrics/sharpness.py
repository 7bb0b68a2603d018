"""Sharpness by the variance of the Laplacian."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.metrics.base import Quantity
from latentbench.metrics.image_statistic import ImageStatistic, filtered

LAPLACIAN = [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]


def laplacian_variance(images: Tensor) -> Tensor:
    """Variance over an image of its 3x3 Laplacian [[0, 1, 0], [1, -4, 1], [0, 1, 0]], away from the border.

    Shape: (N, C, H, W), H and W at least 3 -> (N,), the mean over channels. Units: squared pixel range.
    Higher is sharper, and noise raises it too. Source: Pech-Pacheco et al. 2000, section 3.3.
    """
    return filtered(images, LAPLACIAN).var(2, correction=0).mean(1)


def over_contrast(values: Tensor, images: Tensor) -> Tensor:
    """Values (N,), in squared pixels, over the variance of each image's (N, C, H, W); 0 for an image of one grey."""
    contrast = images.flatten(2).var(2, correction=0).mean(1)
    return torch.where(contrast > 1e-8, values / contrast.clamp(min=1e-8), 0.0)


class Sharpness(ImageStatistic):
    """`sharpness/<set>`, the variance of the Laplacian, `sharpness_ratio/<set>` and both after contrast normalisation.

    `normalized_sharpness/<set>` and `normalized_sharpness_ratio/<set>` divide each image's by the variance of its
    pixels: a pale image is not a blurred one. A ratio below 1 is a blurred set; one above 1 is noisier or harder-edged
    than real images, which is no virtue: see `noise_ratio`.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "sharpness": Quantity("squared pixel range", higher_is_better=None),
        "sharpness_ratio": Quantity("of real", higher_is_better=None),
        "normalized_sharpness": Quantity("", higher_is_better=None),
        "normalized_sharpness_ratio": Quantity("of real", higher_is_better=None),
    }

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """The Laplacian's variance, and over that of the pixels."""
        variance = laplacian_variance(images)
        return {"sharpness": variance, "normalized_sharpness": over_contrast(variance, images)}

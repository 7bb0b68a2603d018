"""Sharpness of an image: the variance of its Laplacian."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.metrics.image_statistic import ImageStatistic, filter_images, too_small_to_filter
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Quantity

LAPLACIAN = [[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue


def luminance(images: Tensor) -> Tensor:
    """0.299 R + 0.587 G + 0.114 B of images with three channels, the mean of the channels of others.

    Shape: (N, C, H, W) -> (N, 1, H, W). Units: pixel range. Grey images are unchanged.
    The weights are those for pixels as files store them, in which grey levels are spaced as the eye sees them. Pillow's
    conversion to grey has the same.
    Source: ITU-R Recommendation BT.601 (luma).
    """
    if images.shape[1] == len(LUMA):
        return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    return images.mean(1, keepdim=True)


def laplacian_variance(images: Tensor) -> Tensor:
    """Variance over an image of its 3x3 Laplacian [[0, 1, 0], [1, -4, 1], [0, 1, 0]], away from the border.

    Shape: (N, C, H, W), H and W at least 3 -> (N,), the mean over channels. Units: squared pixel range.
    Higher is sharper, but noise raises it too. Source: Pech-Pacheco et al. 2000, section 3.3.
    """
    return filter_images(images, LAPLACIAN).var(2, correction=0).mean(1)


def normalize_contrast(values: Tensor, images: Tensor) -> Tensor:
    """Values (N,), squared pixel range, divided by the pixel variance of images (N, C, H, W); 0 if that is 0."""
    contrast = images.flatten(2).var(2, correction=0).mean(1)
    return torch.where(contrast > 1e-8, values / contrast.clamp(min=1e-8), 0.0)


class Sharpness(ImageStatistic):
    """`sharpness/<set>`, the mean variance of the Laplacian, and `sharpness_ratio/<set>`; `normalized_sharpness/<set>`
    and `normalized_sharpness_ratio/<set>`, the same after contrast normalization. All are of the luminance.

    The normalized sharpness is divided by the pixel variance of each image, so that a pale image does not count as
    blurred. A ratio below 1 means blur. A ratio above 1 is not better: the images are noisier or have harder edges than
    real ones, see `noise_ratio`.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "sharpness": Quantity("squared pixel range", higher_is_better=None),
        "sharpness_ratio": Quantity("of real", higher_is_better=None),
        "normalized_sharpness": Quantity("", higher_is_better=None),
        "normalized_sharpness_ratio": Quantity("of real", higher_is_better=None),
    }

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs at least 3x3 pixels."""
        return too_small_to_filter(inputs)

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        grey = luminance(images)
        variance = laplacian_variance(grey)
        return {"sharpness": variance, "normalized_sharpness": normalize_contrast(variance, grey)}

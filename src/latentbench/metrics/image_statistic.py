"""The mean over a set of something that each image has by itself, and its ratio to that of real images."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torchmetrics.utilities import dim_zero_cat

from latentbench.metrics.base import CHUNK, Estimate, ImageMetric, MetricInputs, mean_of, standard_error


class ImageStatistic(ImageMetric):
    """For each name of `per_image`: `name/<set>`, the mean over images, and `name_ratio/<set>`, over test images'.

    The error of a ratio is to first order, of other images of the set and other test images.
    """

    @abstractmethod
    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """Name -> values (N,) of images (N, C, H, W)."""

    def prepare(self, inputs: MetricInputs) -> None:
        """Means over the test images."""
        self.names = [name for name in self.quantities if f"{name}_ratio" in self.quantities]
        self.keep(*self.names)
        for batch in inputs.reference.split(CHUNK):
            self.update(batch)
        self.real = {name: dim_zero_cat(getattr(self, name)).double() for name in self.names}

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        for name, values in self.per_image(images).items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Estimate]:
        """Means and their ratios to real images'."""
        found = {}
        for name, real in self.real.items():
            values = dim_zero_cat(getattr(self, name)).double()
            found[name] = mean_of(values)
            ratio = values.mean() / real.mean()
            error = torch.hypot(standard_error(values), ratio * standard_error(real)) / real.mean()
            found[f"{name}_ratio"] = Estimate(ratio, error)
        return found


def filtered(images: Tensor, mask: list[list[float]]) -> Tensor:
    """Images (N, C, H, W) under a 3x3 mask, away from the border: (N, C, (H - 2) (W - 2))."""
    n, channels, height, width = images.shape
    response = conv2d(images.reshape(n * channels, 1, height, width), images.new_tensor(mask)[None, None])
    return response.reshape(n, channels, -1)

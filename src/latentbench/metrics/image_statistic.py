"""The contract of a statistic of single images: its mean over a set, and the ratio to real images."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torchmetrics.utilities import dim_zero_cat

from latentbench.metrics.base import ImageMetric
from latentbench.metrics.inputs import CHUNK, MetricInputs
from latentbench.metrics.measurements import Estimate, mean_of, standard_error


class ImageStatistic(ImageMetric):
    """For each statistic in `per_image`: `name/<set>`, its mean over the images of a set, and `name_ratio/<set>`, that
    mean divided by the mean over test images.

    The standard error of a ratio is to first order, and includes the sampling of the test images.
    """

    @abstractmethod
    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """Name -> values (N,) for images (N, C, H, W)."""

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.names = [name for name in self.quantities if f"{name}_ratio" in self.quantities]
        self.add_lists(*self.names)
        for batch in inputs.reference.split(CHUNK):
            self.update(batch)
        self.real = {name: dim_zero_cat(getattr(self, name)).double() for name in self.names}

    def update(self, images: Tensor) -> None:
        for name, values in self.per_image(images).items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Estimate]:
        estimates = {}
        for name, real in self.real.items():
            values = dim_zero_cat(getattr(self, name)).double()
            estimates[name] = mean_of(values)
            ratio = values.mean() / real.mean()
            error = torch.hypot(standard_error(values), ratio * standard_error(real)) / real.mean()
            estimates[f"{name}_ratio"] = Estimate(ratio, error)
        return estimates


def too_small_to_filter(inputs: MetricInputs) -> str | None:
    """Why images have no response to a 3x3 mask; None if they have one."""
    height, width = inputs.reference.shape[2:]
    return None if min(height, width) >= 3 else f"images of {height}x{width} pixels have no neighbourhood of 3x3 pixels"


def filter_images(images: Tensor, mask: list[list[float]]) -> Tensor:
    """Response of images (N, C, H, W) to a 3x3 mask, away from the border: (N, C, (H - 2) (W - 2))."""
    n, channels, height, width = images.shape
    response = conv2d(images.reshape(n * channels, 1, height, width), images.new_tensor(mask)[None, None])
    return response.reshape(n, channels, -1)

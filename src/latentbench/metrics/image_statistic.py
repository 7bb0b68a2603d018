"""The mean over a set of something that each image has by itself, and its ratio to that of real images."""

from abc import abstractmethod

from torch import Tensor
from torch.nn.functional import conv2d

from latentbench.metrics.base import CHUNK, Estimate, Evidence, ImageMetric, mean_of


class ImageStatistic(ImageMetric):
    """For each name of `per_image`: `name/<set>`, the mean over images, and `name_ratio/<set>`, over test images'.

    The error of a ratio is of other images of the set, the test images given.
    """

    @abstractmethod
    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """Name -> values (N,) of images (N, C, H, W)."""

    def prepare(self, evidence: Evidence) -> None:
        """Means over the test images."""
        self.names = [name for name in self.quantities if f"{name}_ratio" in self.quantities]
        self.keep(*self.names)
        for batch in evidence.reference.split(CHUNK):
            self.update(batch)
        self.real = {name: mean_of(getattr(self, name)).value for name in self.names}

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        for name, values in self.per_image(images).items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Estimate]:
        """Means and their ratios to real images'."""
        found = {}
        for name, real in self.real.items():
            found[name] = mean_of(getattr(self, name))
            found[f"{name}_ratio"] = found[name].over(real)
        return found


def filtered(images: Tensor, mask: list[list[float]]) -> Tensor:
    """Images (N, C, H, W) under a 3x3 mask, away from the border: (N, C, (H - 2) (W - 2))."""
    n, channels, height, width = images.shape
    response = conv2d(images.reshape(n * channels, 1, height, width), images.new_tensor(mask)[None, None])
    return response.reshape(n, channels, -1)

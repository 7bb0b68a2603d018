"""Sharpness by the variance of the Laplacian."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import conv2d

from latentbench.metrics.base import CHUNK, Evidence, ImageMetric, Quantity, mean_state


def laplacian_variance(images: Tensor) -> Tensor:
    """Variance over an image of its 3x3 Laplacian [[0, 1, 0], [1, -4, 1], [0, 1, 0]], away from the border.

    Shape: (N, C, H, W), H and W at least 3 -> (N,), the mean over channels. Units: squared pixel range.
    Higher is sharper, and noise raises it too. Source: Pech-Pacheco et al. 2000, section 3.3.
    """
    kernel = images.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    n, channels, height, width = images.shape
    response = conv2d(images.reshape(n * channels, 1, height, width), kernel[None, None])
    return response.flatten(1).var(1, correction=0).reshape(n, channels).mean(1)


class Sharpness(ImageMetric):
    """`sharpness/<set>`, the mean over images, and `sharpness_ratio/<set>`, over that of the test images.

    A ratio below 1 is a blurred set; one above 1 is noisier or harder-edged than real images, which is no virtue.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "sharpness": Quantity("squared pixel range", higher_is_better=None),
        "sharpness_ratio": Quantity("of real", higher_is_better=None),
    }
    variance: Tensor
    count: Tensor

    def prepare(self, evidence: Evidence) -> None:
        """Sharpness of the test images."""
        mean_state(self, "variance")
        self.to(evidence.reference.device)
        for batch in evidence.reference.split(CHUNK):
            self.update(batch)
        self.real = self.variance / self.count

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        self.variance += laplacian_variance(images).double().sum()
        self.count += len(images)

    def compute(self) -> dict[str, Tensor]:
        """The mean and its ratio to real images'."""
        mean = self.variance / self.count
        return {"sharpness": mean, "sharpness_ratio": mean / self.real}

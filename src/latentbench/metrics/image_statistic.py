"""The mean over a set of something that each image has by itself, and its ratio to that of real images."""

from abc import abstractmethod

from torch import Tensor

from latentbench.metrics.base import CHUNK, Evidence, ImageMetric, mean_state


class ImageStatistic(ImageMetric):
    """For each name of `per_image`: `name/<set>`, the mean over images, and `name_ratio/<set>`, over test images'."""

    count: Tensor

    @abstractmethod
    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        """Name -> values (N,) of images (N, C, H, W)."""

    def prepare(self, evidence: Evidence) -> None:
        """Means over the test images."""
        self.names = [name for name in self.quantities if f"{name}_ratio" in self.quantities]
        mean_state(self, *self.names)
        self.to(evidence.reference.device)
        for batch in evidence.reference.split(CHUNK):
            self.update(batch)
        self.real = self.means()

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        for name, values in self.per_image(images).items():
            setattr(self, name, getattr(self, name) + values.double().sum())
        self.count += len(images)

    def means(self) -> dict[str, Tensor]:
        """Means over the images so far, scalars."""
        return {name: getattr(self, name) / self.count for name in self.names}

    def compute(self) -> dict[str, Tensor]:
        """Means and their ratios to real images'."""
        means = self.means()
        return means | {f"{name}_ratio": mean / self.real[name] for name, mean in means.items()}

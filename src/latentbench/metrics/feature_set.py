"""Metrics that need all features of an image set at once."""

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.metrics.base import FeatureMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Measurements

SEED = 0  # of draws among the images of a set, the same in every run


class FeatureSetMetric(FeatureMetric):
    """A metric of all features of a set at once, for sets of at least `min_images` images."""

    features: list[Tensor]
    min_images = 2

    def __init__(self) -> None:
        super().__init__()
        self.add_lists("features")

    def update(self, features: Tensor) -> None:
        self.features.append(features)

    def all_features(self) -> Tensor:
        """Features (N, F) of all batches so far."""
        features: Tensor = dim_zero_cat(self.features)
        return features

    def measure(self, inputs: MetricInputs) -> Measurements:
        """Every quantity of every set, or the reason that the sets are too small."""
        if (n := len(inputs.reference)) >= self.min_images:
            return super().measure(inputs)
        reason = f"sets need at least {self.min_images} images and have {n}"
        measurements = Measurements()
        for set_name, why in (dict.fromkeys(inputs.images, reason) | dict(inputs.skipped)).items():
            measurements.skip(self.quantities, set_name, why)
        return measurements


def canonical_order(rows: Tensor) -> Tensor:
    """A permutation (N,) that sorts rows (N, F) in the same way, whatever order they arrive in.

    Rows are sorted along a fixed random direction, on which different rows almost surely have different positions.
    """
    generator = torch.Generator().manual_seed(SEED)
    direction = torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
    return (rows.double() @ direction.to(rows.device)).argsort()

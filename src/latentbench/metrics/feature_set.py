"""What metrics share that look at all features of a set together."""

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.metrics.base import FeatureMetric, Measurements, MetricInputs

SEED = 0  # of what is drawn among a set's images


class FeatureSetMetric(FeatureMetric):
    """A metric of all features of a set at once, for sets of `min_images` images or more."""

    features: list[Tensor]
    min_images = 2

    def __init__(self) -> None:
        super().__init__()
        self.keep("features")

    def update(self, features: Tensor) -> None:
        """Add a batch (B, F)."""
        self.features.append(features)

    def whole(self) -> Tensor:
        """All features (N, F) of the set so far."""
        features: Tensor = dim_zero_cat(self.features)
        return features

    def measure(self, inputs: MetricInputs) -> Measurements:
        """Every quantity of every set, or that there are too few images."""
        if (n := len(inputs.reference)) >= self.min_images:
            return super().measure(inputs)
        reason = f"it takes sets of {self.min_images} images or more, and these have {n}"
        reasons = dict.fromkeys(inputs.images, reason) | dict(inputs.skipped)
        return Measurements(
            skipped={f"{name}/{of_what}": why for of_what, why in reasons.items() for name in self.quantities}
        )


def settled(rows: Tensor) -> Tensor:
    """Positions (N,) of rows (N, F) in an order that is the same in whichever order the rows are given.

    It is that along a fixed direction drawn at random, on which no two rows that differ lie together.
    """
    generator = torch.Generator().manual_seed(SEED)
    direction = torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
    return (rows.double() @ direction.to(rows.device)).argsort()

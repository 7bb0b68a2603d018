"""Frechet distance between two sets of images (FID)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.metrics.base import CHUNK, Evidence, FeatureMetric, Quantity


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> Tensor:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1^(1/2) C2 C1^(1/2))^(1/2))

    Shape: means (F,), covariances (F, F), symmetric positive semi-definite; computed in float64.
    Singular covariances are handled: both square roots are of symmetric matrices, by eigenvalues clipped at 0.
    Source: Dowson & Landau 1982, equation 4; Heusel et al. 2017, equation 6.
    """
    mean1, covariance1, mean2, covariance2 = (t.double() for t in (mean1, covariance1, mean2, covariance2))
    values, vectors = torch.linalg.eigh(covariance1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ covariance2 @ root
    trace_of_root = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance: Tensor = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * trace_of_root
    return distance.clamp(min=0.0)


def moments(total: Tensor, outer: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and unbiased covariance (F, F) from the sums of features and of their outer products."""
    mean = total / count
    return mean, (outer - count * torch.outer(mean, mean)) / (count - 1)


class FrechetDistance(FeatureMetric):
    """`fid/<set>`: Frechet distance in the given features between a set and as many test images.

    `fid/real` is the floor: real validation images against the same test images, the same number of each; what a model
    can expect that draws as the data does. It is one pair of sets: on the digits, other splits of the same size give
    5.2 with a standard deviation of 0.9. The distance is biased upwards for few images (Chong & Forsyth 2020): compare
    values of equal counts only.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"fid": Quantity("", higher_is_better=False)}
    total: Tensor
    outer: Tensor
    count: Tensor

    def prepare(self, evidence: Evidence) -> None:
        """Moments of the reference's features."""
        size = evidence.features.size
        for name, shape in {"total": (size,), "outer": (size, size), "count": ()}.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.to(evidence.reference.device)
        for batch in evidence.reference_features.split(CHUNK):
            self.update(batch)
        self.reference = moments(self.total, self.outer, self.count)

    def update(self, features: Tensor) -> None:
        """Add a batch (B, F)."""
        exact = features.double()
        self.total += exact.sum(0)
        self.outer += exact.T @ exact
        self.count += len(exact)

    def compute(self) -> dict[str, Tensor]:
        """The distance."""
        return {"fid": frechet_distance(*moments(self.total, self.outer, self.count), *self.reference)}

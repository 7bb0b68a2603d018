"""Frechet distance between two sets of images (FID)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from latentbench.features.cache import kept
from latentbench.metrics.base import Evidence, FeatureMetric, Quantity


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> Tensor:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((R' C2 R)^(1/2)),  C1 = R R'

    Shape: means (F,), covariances (F, F), symmetric positive semi-definite; computed in float64.
    Singular covariances are handled: R has as many columns as C1 has rank, and the root is of a symmetric matrix, by
    eigenvalues clipped at 0.
    Source: Dowson & Landau 1982, equation 4; Heusel et al. 2017, equation 6, with the trace of (C1 C2)^(1/2): R' C2 R
    has the eigenvalues of C1 C2 but for zeros.
    """
    mean1, covariance1, mean2, covariance2 = (t.double() for t in (mean1, covariance1, mean2, covariance2))
    root = factor(covariance1)
    overlap = trace_of_root(root.T @ covariance2 @ root)
    distance: Tensor = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * overlap
    return distance.clamp(min=0.0)


def factor(covariance: Tensor) -> Tensor:
    """R (F, r) with R R' = C (F, F), C positive semi-definite of rank r."""
    # Cholesky's decomposition with pivots ends where nothing but rounding is left.
    lower, order, rank, _ = dpstrf(covariance.cpu().numpy(), lower=1)
    root = torch.zeros(len(lower), rank, dtype=torch.float64)
    root[torch.from_numpy(order).long() - 1] = torch.from_numpy(lower[:, :rank]).tril()
    return root.to(covariance.device)


def trace_of_root(product: Tensor) -> Tensor:
    """tr(P^(1/2)) of a symmetric positive semi-definite P."""
    values: Tensor = torch.linalg.eigvalsh((product + product.T) / 2)
    return values.clamp(min=0).sqrt().sum()


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and unbiased covariance (F, F) of features (N, F), in float64."""
    exact = features.double()
    return exact.mean(0), covariance_of(exact)


def covariance_of(rows: Tensor) -> Tensor:
    """Unbiased covariance (F, F) of rows (N, F)."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def reference_moments(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the reference's features, made once."""
    features = evidence.reference_features
    mean, covariance = kept("moments", [features], lambda: moments(features))
    return mean, covariance


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
        self.reference = reference_moments(evidence)
        size = len(self.reference[0])
        for name, shape in {"total": (size,), "outer": (size, size), "count": ()}.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.to(evidence.reference.device)

    def update(self, features: Tensor) -> None:
        """Add a batch (B, F)."""
        # From the reference's mean, which is near theirs: sums of squares keep their digits.
        shifted = features.double() - self.reference[0]
        self.total += shifted.sum(0)
        self.outer += shifted.T @ shifted
        self.count += len(shifted)

    def compute(self) -> dict[str, Tensor]:
        """The distance."""
        shift = self.total / self.count
        covariance = (self.outer - self.count * torch.outer(shift, shift)) / (self.count - 1)
        mean, of_reference = self.reference
        return {"fid": frechet_distance(mean, of_reference, mean + shift, covariance)}

    def warnings(self) -> dict[str, str]:
        """Whether a covariance was singular for want of images."""
        n, size = int(self.count), len(self.total)
        if n > size:
            return {}
        return {"fid": f"{n} images for {size} features: the covariances are singular and the distance far too large"}

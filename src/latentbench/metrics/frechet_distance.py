"""Frechet distance between two image sets (FID)."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.features.cache import cached
from latentbench.metrics.base import FeatureMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> Tensor:
    """Squared Frechet (2-Wasserstein) distance between two Gaussians.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((R' C2 R)^(1/2)),  C1 = R R'

    Shape: means (F,), covariances (F, F), symmetric positive semi-definite, possibly singular; computed in float64.
    R has rank(C1) columns. The trace of the root is that of a symmetric matrix, from eigenvalues clipped at 0.
    Source: Dowson & Landau 1982, equation 4; Heusel et al. 2017, equation 6. Where we differ: they write the trace of
    (C1 C2)^(1/2); R' C2 R has the same non-zero eigenvalues as C1 C2.
    """
    mean1, covariance1, mean2, covariance2 = (t.double() for t in (mean1, covariance1, mean2, covariance2))
    return distance_from_root(mean2 - mean1, pivoted_root(covariance1), covariance2)


def distance_from_root(shift: Tensor, root: Tensor, covariance: Tensor) -> Tensor:
    """frechet_distance from the difference of the means (F,), R (F, r) with C1 = R R', and C2 (F, F)."""
    overlap = trace_of_root(root.T @ covariance @ root)
    distance: Tensor = shift.square().sum() + root.square().sum() + covariance.trace() - 2 * overlap
    return distance.clamp(min=0.0)


def pivoted_root(covariance: Tensor) -> Tensor:
    """R (F, r) with R R' = C (F, F), for a positive semi-definite C of rank r."""
    # The Cholesky decomposition with pivoting stops at rank r, when only rounding errors are left.
    lower, order, rank, _ = dpstrf(covariance.cpu().numpy(), lower=1)
    root = torch.zeros(len(lower), rank, dtype=torch.float64)
    root[torch.from_numpy(order).long() - 1] = torch.from_numpy(lower[:, :rank]).tril()
    return root.to(covariance.device)


def trace_of_root(product: Tensor) -> Tensor:
    """tr(P^(1/2)) for a symmetric positive semi-definite P."""
    values: Tensor = torch.linalg.eigvalsh((product + product.T) / 2)
    return values.clamp(min=0).sqrt().sum()


class Reference(NamedTuple):
    """Moments of the reference features x_j: their mean m, and R with R R' = C, their covariance; float64."""

    mean: Tensor  # (F,)
    root: Tensor  # R, (F, r)
    centred: Tensor  # x_j - m, (M, F)
    whitened: Tensor  # R^+ (x_j - m), (M, r)


def make_reference(features: Tensor) -> Reference:
    """Moments of features (M, F)."""
    mean, covariance = moments(features)
    root, centred = pivoted_root(covariance), features.double() - mean
    return Reference(mean, root, centred, torch.linalg.lstsq(root, centred.T).solution.T)


def influence(x: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
    """Influence of each image on frechet_distance: the derivative with respect to the weight of the image in its set.

    set, x_i:        f_i = 2 (m' - m)(x_i - m') + |x_i - m'|^2 - y_i P^(-1/2) y_i,  y_i = R'(x_i - m'),   P = R' C' R
    reference, x_j:  g_j = 2 (m - m')(x_j - m) + |x_j - m|^2 - u_j P^(1/2) u_j,     u_j = R^+ (x_j - m)

    with m', C' the moments of the set; f and g are centred to mean 0. The quadratic forms are the optimal transport
    maps between the two Gaussians. If P is singular, its pseudo-inverse is used.
    The standard error of the distance is (|f|^2 / N^2 + |g|^2 / M^2)^(1/2).
    Shape: x (N, F), float64 -> f (N,), g (M,).
    Source: our derivation, from the trace term of Dowson & Landau 1982.
    """
    mean = x.mean(0)
    shift, x = mean - reference.mean, x - mean
    y = x @ reference.root
    values, vectors = torch.linalg.eigh(y.T @ y / (len(y) - 1))
    is_positive = values > values.sum() * torch.finfo(values.dtype).eps
    roots, vectors = values[is_positive].sqrt(), vectors[:, is_positive]
    set_influence = 2 * x @ shift + x.square().sum(1) - ((y @ vectors).square() / roots).sum(1)
    quadratic, centred = (reference.whitened @ vectors).square() * roots, reference.centred
    reference_influence = -2 * centred @ shift + centred.square().sum(1) - quadratic.sum(1)
    return set_influence - set_influence.mean(), reference_influence - reference_influence.mean()


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and unbiased covariance (F, F) of features (N, F), in float64."""
    exact = features.double()
    return exact.mean(0), covariance_of(exact)


def covariance_of(rows: Tensor) -> Tensor:
    """Unbiased covariance (F, F) of rows (N, F)."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def load_reference(inputs: MetricInputs) -> Reference:
    """Moments of the reference images' features, cached across metrics and runs."""
    features = inputs.reference_features
    return Reference(*cached("reference of Frechet distances", [features], lambda: make_reference(features)))


class FrechetDistance(FeatureMetric):
    """`fid/<set>`: Frechet distance between the features of a set and those of as many test images.

    `fid/real` is the floor: the distance between real validation images and the same test images, at the same number of
    images. It is measured on a single pair of sets, and depends on the split. The distance is biased upwards for few
    images (Chong & Forsyth 2020), by about as much as real images score if they are independent draws, and by twice as
    much as those score whose splits have the same share of every class: compare only values for equal numbers of
    images. The standard error does not contain the bias.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"fid": Quantity("", higher_is_better=False)}
    total: Tensor
    outer: Tensor
    count: Tensor
    features: list[Tensor]

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.reference = load_reference(inputs)
        size = len(self.reference.mean)
        for name, shape in {"total": (size,), "outer": (size, size), "count": ()}.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_lists("features")  # only for the standard error
        self.to(inputs.reference.device)

    def update(self, features: Tensor) -> None:
        # Subtracting the mean of the reference, which is close to that of the set, keeps the sums of squares accurate.
        shifted = features.double() - self.reference.mean
        self.total += shifted.sum(0)
        self.outer += shifted.T @ shifted
        self.count += len(shifted)
        self.features.append(features)

    def compute(self) -> dict[str, Estimate]:
        shift = self.total / self.count
        covariance = (self.outer - self.count * torch.outer(shift, shift)) / (self.count - 1)
        value = distance_from_root(shift, self.reference.root, covariance)
        n, size = int(self.count), len(shift)
        if n < 2:  # the covariance is undefined
            return {"fid": Estimate(value, None)}
        set_influence, reference_influence = influence(dim_zero_cat(self.features).double(), self.reference)
        error = torch.hypot(set_influence.norm() / n, reference_influence.norm() / len(reference_influence))
        caveat = f"{n} images for {size} features: the covariances are singular and the distance is far too large"
        return {"fid": Estimate(value, error, caveat if n <= size else "")}

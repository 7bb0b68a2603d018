"""Frechet distance between two sets of images (FID)."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.features.cache import cached
from latentbench.metrics.base import Estimate, FeatureMetric, MetricInputs, Quantity


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
    return distance_of_shift(mean2 - mean1, factor(covariance1), covariance2)


def distance_of_shift(shift: Tensor, root: Tensor, covariance: Tensor) -> Tensor:
    """frechet_distance of Gaussians with means `shift` (F,) apart and covariances R R', R (F, r), and (F, F)."""
    overlap = trace_of_root(root.T @ covariance @ root)
    distance: Tensor = shift.square().sum() + root.square().sum() + covariance.trace() - 2 * overlap
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


class Reference(NamedTuple):
    """What a set is compared with: features x_j, their mean m and R with R R' = C, their covariance."""

    mean: Tensor  # (F,)
    root: Tensor  # R, (F, r)
    centred: Tensor  # x_j - m, (M, F)
    whitened: Tensor  # R^+ (x_j - m), (M, r)


def reference_of(features: Tensor) -> Reference:
    """The reference that features (M, F) make, in float64."""
    mean, covariance = moments(features)
    root, centred = factor(covariance), features.double() - mean
    return Reference(mean, root, centred, torch.linalg.lstsq(root, centred.T).solution.T)


def influence(x: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
    """What each image adds to frechet_distance to first order: its derivative by the image's weight among its own.

    of the set's x_i:        2 (m' - m)(x_i - m') + |x_i - m'|^2 - y_i M^(-1/2) y_i,  y_i = R'(x_i - m'),   M = R' C' R
    of the reference's x_j:  2 (m - m')(x_j - m) + |x_j - m|^2 - u_j M^(1/2) u_j,     u_j = R^+ (x_j - m)

    with m', C' the moments of the set, both less their means; the quadratic forms are the optimal maps of either
    Gaussian to the other. Where M is singular the inverse is of what there is. The distance's standard error is
    (|f|^2 / N^2 + |g|^2 / M^2)^(1/2) of the N influences f and the M of the reference.
    Shape: x (N, F), float64 -> (N,), (M,). Source: the derivative of the trace term of Dowson & Landau 1982.
    """
    mean = x.mean(0)
    shift, x = mean - reference.mean, x - mean
    y = x @ reference.root
    values, vectors = torch.linalg.eigh(y.T @ y / (len(y) - 1))
    there = values > values.sum() * torch.finfo(values.dtype).eps
    roots, vectors = values[there].sqrt(), vectors[:, there]
    of_set = 2 * x @ shift + x.square().sum(1) - ((y @ vectors).square() / roots).sum(1)
    along, others = (reference.whitened @ vectors).square() * roots, reference.centred
    of_reference = -2 * others @ shift + others.square().sum(1) - along.sum(1)
    return of_set - of_set.mean(), of_reference - of_reference.mean()


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and unbiased covariance (F, F) of features (N, F), in float64."""
    exact = features.double()
    return exact.mean(0), covariance_of(exact)


def covariance_of(rows: Tensor) -> Tensor:
    """Unbiased covariance (F, F) of rows (N, F)."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def reference_in(inputs: MetricInputs) -> Reference:
    """The reference's features as one, made once."""
    features = inputs.reference_features
    return Reference(*cached("reference of Frechet distances", [features], lambda: reference_of(features)))


class FrechetDistance(FeatureMetric):
    """`fid/<set>`: Frechet distance in the given features between a set and as many test images.

    `fid/real` is the floor: real validation images against the same test images, the same number of each; what a model
    can expect that draws as the data does. It is one pair of sets: on the digits, other splits of the same size give
    5.2 with a standard deviation of 0.9. The distance is biased upwards for few images (Chong & Forsyth 2020): compare
    values of equal counts only. Its error knows nothing of the bias.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"fid": Quantity("", higher_is_better=False)}
    total: Tensor
    outer: Tensor
    count: Tensor
    features: list[Tensor]

    def prepare(self, inputs: MetricInputs) -> None:
        """Moments of the reference's features."""
        self.reference = reference_in(inputs)
        size = len(self.reference.mean)
        for name, shape in {"total": (size,), "outer": (size, size), "count": ()}.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.keep("features")  # for the error alone
        self.to(inputs.reference.device)

    def update(self, features: Tensor) -> None:
        """Add a batch (B, F)."""
        # From the reference's mean, which is near theirs: sums of squares keep their digits.
        shifted = features.double() - self.reference.mean
        self.total += shifted.sum(0)
        self.outer += shifted.T @ shifted
        self.count += len(shifted)
        self.features.append(features)

    def compute(self) -> dict[str, Estimate]:
        """The distance."""
        shift = self.total / self.count
        covariance = (self.outer - self.count * torch.outer(shift, shift)) / (self.count - 1)
        value = distance_of_shift(shift, self.reference.root, covariance)
        n, size = int(self.count), len(shift)
        if n < 2:  # and no covariance
            return {"fid": Estimate(value, None)}
        of_set, of_reference = influence(dim_zero_cat(self.features).double(), self.reference)
        error = torch.hypot(of_set.norm() / n, of_reference.norm() / len(of_reference))
        few = f"{n} images for {size} features: the covariances are singular and the distance far too large"
        return {"fid": Estimate(value, error, few if n <= size else "")}

"""Frechet distance extrapolated to infinitely many images (FID infinity)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.errors import check_number, check_whole_number
from latentbench.metrics.feature_set import SEED, FeatureSetMetric, canonical_order
from latentbench.metrics.frechet_distance import Reference, covariance_of, influence, load_reference, trace_of_root
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity


def frechet_distance_infinity(reference: Reference, features: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Intercept a, and its standard error, of the line FID_n = a + b/n through one subset of each size n.

    a = sum_k w_k FID_k,  w_k = 1/K - z' (z_k - z') / sum_l (z_l - z')^2,  z_k = 1/n_k with mean z'
    error^2 = sum_i (sum_k w_k [i in subset k] / n_k)^2 f_i^2 + sum_j g_j^2 / M^2
    with f the influences of the images of the set on the distance, and g those of the reference

    Shape: features (N, F); sizes: 3 or more, each 2 to N. Subsets are drawn without replacement; they do not depend on
    the order of the features. The intercept may be below 0 if the distance is close to 0.
    Source: Chong & Forsyth 2020, for the line. Where we differ: the error is our own, to first order. An error
    computed from the residuals of the fit would be too small, since all subsets of a set share most of its deviation
    from other sets.
    """
    x = features.double()[canonical_order(features)] - reference.mean
    y = x @ reference.root
    reference_variance = reference.root.square().sum()
    inverse = 1 / torch.tensor(sizes, dtype=torch.float64)
    deviation = inverse - inverse.mean()
    weights = 1 / len(sizes) - inverse.mean() * deviation / deviation.square().sum()
    intercept, leverage = x.new_zeros(()), x.new_zeros(len(x))
    generator = torch.Generator().manual_seed(SEED)
    for n, weight in zip(sizes, weights.tolist(), strict=True):
        subset = torch.randperm(len(x), generator=generator)[:n].to(x.device)
        shift = x[subset].mean(0)
        variance = (x[subset] - shift).square().sum() / (n - 1)
        overlap = trace_of_root(covariance_of(y[subset]))
        intercept += weight * (shift.square().sum() + reference_variance + variance - 2 * overlap)
        leverage[subset] += weight / n
    set_influence, reference_influence = influence(x + reference.mean, reference)
    error = torch.hypot((leverage * set_influence).norm(), reference_influence.norm() / len(reference_influence))
    return intercept, error


class FrechetDistanceInfinity(FeatureSetMetric):
    """`fid_infinity/<set>`: `fid` extrapolated to infinitely many images of the set.

    This removes the bias due to the number of images in the set, which depends on the model (Chong & Forsyth 2020). The
    number of test images stays finite, and its part of the bias remains, the same for every set: compare with the floor
    `fid_infinity/real`.

    subsets: number of subset sizes, evenly spaced up to all images
    smallest: the first size, as a share of the images
    images_per_feature: increases the first size to this many images per feature, below which the distance is not linear
        in 1/n, but to no more than half of the images
    Raises: UserError for settings out of range.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"fid_infinity": Quantity("", higher_is_better=False)}
    min_images = 4  # the fewest that give three different sizes

    def __init__(self, *, subsets: int, smallest: float, images_per_feature: float) -> None:
        super().__init__()
        self.subsets = check_whole_number("metric.fid_infinity.subsets", subsets, minimum=3)
        self.smallest = check_number("metric.fid_infinity.smallest", smallest, above=0, maximum=0.5)
        self.images_per_feature = check_number("metric.fid_infinity.images_per_feature", images_per_feature, minimum=0)

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.reference = load_reference(inputs)

    def compute(self) -> dict[str, Estimate]:
        features = self.all_features()
        n, size = features.shape
        sizes = self.subset_sizes(n, size)
        value, error = frechet_distance_infinity(self.reference, features, sizes)
        is_linear = sizes[0] >= self.images_per_feature * size
        caveat = f"the smallest subset has {sizes[0]} images for {size} features, too few for a distance linear in 1/n"
        return {"fid_infinity": Estimate(value, error, "" if is_linear else caveat)}

    def subset_sizes(self, n: int, size: int) -> list[int]:
        """The sizes of the subsets, for n images with `size` features each."""
        first = max(2, round(self.smallest * n), min(round(self.images_per_feature * size), n // 2))
        return sorted({round(s) for s in torch.linspace(first, n, self.subsets, dtype=torch.float64).tolist()})

"""Frechet distance of a set of images, extrapolated to infinitely many (FID infinity)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.errors import check_number, check_whole_number
from latentbench.metrics.base import Estimate, MetricInputs, Quantity
from latentbench.metrics.feature_set import SEED, FeatureSetMetric, settled
from latentbench.metrics.frechet_distance import Reference, covariance_of, influence, reference_in, trace_of_root


def frechet_distance_infinity(reference: Reference, features: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Intercept a, and its standard error, of the line FID_n = a + b/n through one subset of each size n.

    a = sum_k w_k FID_k,  w_k = 1/K - z' (z_k - z') / sum_l (z_l - z')^2,  z_k = 1/n_k with mean z'
    error^2 = sum_i (sum_k w_k [i in subset k] / n_k)^2 f_i^2 + sum_j g_j^2 / M^2
    with f the influences of the set's images on the distance and g those of the reference's

    Shape: features (N, F); sizes: 3 or more, each 2 to N. Subsets are drawn without replacement, the same ones in
    whichever order the features come.
    Source: Chong & Forsyth 2020, for the line. The intercept may be below 0 where the distance is near 0.
    The error is ours: the scatter about the line does not show what all subsets of one set share, and is about half of
    what the intercept varies from set to set. Ours is to first order.
    """
    x = features.double()[settled(features)] - reference.mean
    y = x @ reference.root
    spread = reference.root.square().sum()
    inverse = 1 / torch.tensor(sizes, dtype=torch.float64)
    deviation = inverse - inverse.mean()
    weights = 1 / len(sizes) - inverse.mean() * deviation / deviation.square().sum()
    intercept, leverage = x.new_zeros(()), x.new_zeros(len(x))
    generator = torch.Generator().manual_seed(SEED)
    for n, weight in zip(sizes, weights.tolist(), strict=True):
        chosen = torch.randperm(len(x), generator=generator)[:n].to(x.device)
        shift = x[chosen].mean(0)
        variance = (x[chosen] - shift).square().sum() / (n - 1)
        overlap = trace_of_root(covariance_of(y[chosen]))
        intercept += weight * (shift.square().sum() + spread + variance - 2 * overlap)
        leverage[chosen] += weight / n
    of_set, of_reference = influence(x + reference.mean, reference)
    return intercept, torch.hypot((leverage * of_set).norm(), of_reference.norm() / len(of_reference))


class FrechetDistanceInfinity(FeatureSetMetric):
    """`fid_infinity/<set>`: `fid` extrapolated to infinitely many images of it, and its error.

    What is left out is the bias of the set's own number of images, which depends on the model (Chong & Forsyth 2020).
    The test images stay as many as they are, so their part of the bias remains, in every set alike: compare with
    `fid_infinity/real`, the floor.

    subsets: how many sizes the line is drawn through, evenly spaced up to all images; smallest: the first one's share
    of the images; images_per_feature: more than that share where it takes more for the distance to be a line in 1/n,
    but no more than half of the images. Raises: UserError if these are not numbers that make sense.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"fid_infinity": Quantity("", higher_is_better=False)}
    min_images = 4  # images: the fewest with three sizes

    def __init__(self, *, subsets: int, smallest: float, images_per_feature: float) -> None:
        super().__init__()
        self.subsets = check_whole_number("metric.fid_infinity.subsets", subsets, minimum=3)
        self.smallest = check_number("metric.fid_infinity.smallest", smallest, above=0, maximum=0.5)
        self.images_per_feature = check_number("metric.fid_infinity.images_per_feature", images_per_feature, minimum=0)

    def prepare(self, inputs: MetricInputs) -> None:
        """Moments of the reference's features."""
        self.reference = reference_in(inputs)

    def compute(self) -> dict[str, Estimate]:
        """The intercept and its error."""
        features = self.whole()
        n, size = features.shape
        sizes = self.sizes(n, size)
        few = f"subsets from {sizes[0]} images on for {size} features: with so few the distance is not linear in 1/n"
        value, error = frechet_distance_infinity(self.reference, features, sizes)
        is_line = sizes[0] >= self.images_per_feature * size
        return {"fid_infinity": Estimate(value, error, "" if is_line else few)}

    def sizes(self, n: int, size: int) -> list[int]:
        """Sizes of the subsets of n images with so many features."""
        first = max(2, round(self.smallest * n), min(round(self.images_per_feature * size), n // 2))
        return sorted({round(s) for s in torch.linspace(first, n, self.subsets, dtype=torch.float64).tolist()})

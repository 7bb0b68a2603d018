"""Kernel distance between two image sets (KID)."""

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from latentbench.features.cache import cached
from latentbench.metrics.blocks import block_size
from latentbench.metrics.feature_set import FeatureSetMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity

TILE = 256  # rows and columns of the kernel matrix in memory at once: 0.5 MB, which fit into a processor's cache


class Kernel(NamedTuple):
    """A kernel k. pairs: k of all pairs of rows (N, F) and (M, F), (N, M); own: k of every row with itself, (N,)"""

    pairs: Callable[[Tensor, Tensor], Tensor]
    own: Callable[[Tensor], Tensor]


def _cubic_pairs(a: Tensor, b: Tensor) -> Tensor:
    shifted = torch.addmm(a.new_ones(1), a, b.T, alpha=1 / a.shape[1])
    return shifted.square().mul_(shifted)


def _cubic_own(x: Tensor) -> Tensor:
    return ((x * x).mean(1) + 1) ** 3


CUBIC = Kernel(_cubic_pairs, _cubic_own)  # k(a, b) = (a.b / F + 1)^3


def kernel_distance(x: Tensor, y: Tensor, kernel: Kernel = CUBIC) -> tuple[Tensor, Tensor]:
    """Squared maximum mean discrepancy with a kernel, and its standard error.

    sum_{i != j} k(x_i, x_j) / (N (N - 1)) + sum_{i != j} k(y_i, y_j) / (M (M - 1)) - 2 sum_ij k(x_i, y_j) / (N M)

    The estimate is unbiased: for two sets from the same distribution it is negative about half of the time. The
    standard error is that of the jackknife, which leaves out one vector of x or of y at a time. It is correct if the
    distributions differ, and too large by a factor of up to sqrt(2) if they are equal.

    Shape: x (N, F), y (M, F), N and M at least 3; computed in float64, in memory that does not grow with N M.
    Source: Binkowski et al. 2018, section 4 (the cubic kernel); Gretton et al. 2012, equation 3. Where we differ:
    Binkowski et al. average over random subsets, whose spread gives the error; this uses all images, so that their
    order does not matter.
    """
    return distance_from_sums(sums_within(x, kernel), *sums_between(x, y, kernel), sums_within(y, kernel))


def sums_within(x: Tensor, kernel: Kernel) -> Tensor:
    """sum_{j != i} k(x_i, x_j), (N,), in float64."""
    x = x.double()
    sums, size = -kernel.own(x), block_size(TILE, x)
    for i in range(0, len(x), size):
        rows = x[i : i + size]
        sums[i : i + size] += kernel.pairs(rows, rows).sum(1)
        for j in range(i + size, len(x), size):  # the kernel is symmetric
            tile = kernel.pairs(rows, x[j : j + size])
            sums[i : i + size] += tile.sum(1)
            sums[j : j + size] += tile.sum(0)
    return sums


def sums_between(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """sum_j k(x_i, y_j), (N,), and sum_i k(x_i, y_j), (M,), in float64."""
    x, y = x.double(), y.double()
    sums_x, sums_y, size = x.new_zeros(len(x)), x.new_zeros(len(y)), block_size(TILE, x)
    for i in range(0, len(x), size):
        for j in range(0, len(y), size):
            tile = kernel.pairs(x[i : i + size], y[j : j + size])
            sums_x[i : i + size] += tile.sum(1)
            sums_y[j : j + size] += tile.sum(0)
    return sums_x, sums_y


def distance_from_sums(within_x: Tensor, x_with_y: Tensor, y_with_x: Tensor, within_y: Tensor) -> tuple[Tensor, Tensor]:
    """The squared MMD and its standard error, from sums of kernel values for each vector.

    within_x: sum_{j != i} k(x_i, x_j), (N,); x_with_y: sum_j k(x_i, y_j), (N,)
    y_with_x: sum_i k(x_i, y_j), (M,); within_y: sum_{i != j} k(y_i, y_j), (M,)
    """
    n, m = len(within_x), len(within_y)
    mean_x, mean_y = within_x.sum() / (n * (n - 1)), within_y.sum() / (m * (m - 1))
    distance = mean_x + mean_y - 2 * x_with_y.sum() / (n * m)
    variance = distance.new_zeros(())
    for own, other, rest in ((within_x, x_with_y, mean_y), (within_y, y_with_x, mean_x)):
        n, m = len(own), n + m - len(own)
        remaining = n - 1  # vectors of this set when one is left out
        without = (
            (own.sum() - 2 * own) / (remaining * (remaining - 1)) + rest - 2 * (other.sum() - other) / (remaining * m)
        )
        variance += remaining / n * (without - without.mean()).square().sum()
    return distance, variance.sqrt()


class KernelDistance(FeatureSetMetric):
    """`kid/<set>`: kernel distance between the features of a set and those of as many test images.

    Unlike `fid` it is unbiased even for few images, and it depends on third moments too. It scales with the sixth power
    of the features: compare only values that were computed from the same features. The floor `kid/real`, of real
    validation images, is 0 in expectation if validation and test images are independent draws from one distribution. On
    the digits it is below 0: their splits are stratified by class, and so closer than independent draws. On MNIST it is
    above 0: the test images are by other writers.
    The standard error includes the sampling of the test images. All sets share these, so that differences between
    methods are more certain than it suggests.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"kid": Quantity("", higher_is_better=False)}
    min_images = 3

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.reference = inputs.reference_features
        (self.within_reference,) = cached("kernels", [self.reference], lambda: [sums_within(self.reference, CUBIC)])

    def compute(self) -> dict[str, Estimate]:
        x = self.all_features()
        sums = sums_within(x, CUBIC), *sums_between(x, self.reference, CUBIC), self.within_reference
        return {"kid": Estimate(*distance_from_sums(*sums))}

"""Kernel distance between two sets of images (KID)."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.features.cache import cached
from latentbench.metrics.base import Estimate, MetricInputs, Quantity
from latentbench.metrics.feature_set import FeatureSetMetric

TILE = 1024  # rows and columns whose kernel is held at once: 8 MB, which stay in a processor's cache


def kernel_distance(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared maximum mean discrepancy of two sets with the kernel k(a, b) = (a.b / F + 1)^3, and its standard error.

    sum_{i != j} k(x_i, x_j) / (N (N - 1)) + sum_{i != j} k(y_i, y_j) / (M (M - 1)) - 2 sum_ij k(x_i, y_j) / (N M)

    The estimate is unbiased, so that between sets of one distribution it is as often below 0 as above. The error is
    by leaving out one vector at a time (the jackknife), of x and of y: right where the distributions differ; where
    they are the same, too large by a factor of up to sqrt(2).

    Shape: x (N, F), y (M, F), N and M at least 3; computed in float64, in memory that does not grow with N M.
    Source: Binkowski et al. 2018, section 4; Gretton et al. 2012, equation 3. They take the mean over subsets drawn at
    random, and its spread for the error; this is of all images, whatever their order.
    """
    return from_sums(within(x), *between(x, y), within(y))


def within(x: Tensor) -> Tensor:
    """sum_{j != i} k(x_i, x_j), (N,), in float64."""
    x = x.double()
    sums = -_kernel((x * x).sum(1) / x.shape[1])
    for i in range(0, len(x), TILE):
        rows = x[i : i + TILE]
        sums[i : i + TILE] += _kernel(rows @ rows.T / x.shape[1]).sum(1)
        for j in range(i + TILE, len(x), TILE):  # the kernel is symmetric
            tile = _kernel(rows @ x[j : j + TILE].T / x.shape[1])
            sums[i : i + TILE] += tile.sum(1)
            sums[j : j + TILE] += tile.sum(0)
    return sums


def between(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j k(x_i, y_j), (N,), and sum_i k(x_i, y_j), (M,), in float64."""
    x, y = x.double(), y.double()
    of_x, of_y = x.new_zeros(len(x)), x.new_zeros(len(y))
    for i in range(0, len(x), TILE):
        for j in range(0, len(y), TILE):
            tile = _kernel(x[i : i + TILE] @ y[j : j + TILE].T / x.shape[1])
            of_x[i : i + TILE] += tile.sum(1)
            of_y[j : j + TILE] += tile.sum(0)
    return of_x, of_y


def from_sums(within_x: Tensor, x_with_y: Tensor, y_with_x: Tensor, within_y: Tensor) -> tuple[Tensor, Tensor]:
    """The distance and its standard error from every vector's sums of kernels."""
    n, m = len(within_x), len(within_y)
    mean_x, mean_y = within_x.sum() / (n * (n - 1)), within_y.sum() / (m * (m - 1))
    distance = mean_x + mean_y - 2 * x_with_y.sum() / (n * m)
    variance = distance.new_zeros(())
    for own, other, rest in ((within_x, x_with_y, mean_y), (within_y, y_with_x, mean_x)):
        n, m = len(own), n + m - len(own)
        left = n - 1
        without = (own.sum() - 2 * own) / (left * (left - 1)) + rest - 2 * (other.sum() - other) / (left * m)
        variance += left / n * (without - without.mean()).square().sum()
    return distance, variance.sqrt()


def _kernel(products: Tensor) -> Tensor:
    """(u + 1)^3 of products u of two vectors, divided by their length."""
    shifted = products + 1
    return shifted * shifted * shifted


class KernelDistance(FeatureSetMetric):
    """`kid/<set>`: kernel distance in the given features between a set and as many test images.

    Unlike `fid` it is not biased for few images, and looks at third moments too. Its size is that of the features to
    the sixth power: compare values of one kind of features. `kid/real`, of real validation images, is 0 but for chance
    where validation and test images are drawn alike. The digits' are not, but with the same share of every class, and
    so are nearer than two draws: below 0. MNIST's are not, being by other writers: above 0.
    The error has in it the chance of the test images, which all sets share: differences between methods are surer than
    their errors say.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"kid": Quantity("", higher_is_better=False)}
    min_images = 3

    def prepare(self, inputs: MetricInputs) -> None:
        """The kernels among the reference's features."""
        self.reference = inputs.reference_features
        (self.within_reference,) = cached("kernels", [self.reference], lambda: [within(self.reference)])

    def compute(self) -> dict[str, Estimate]:
        """The distance and its error."""
        x = self.whole()
        return {"kid": Estimate(*from_sums(within(x), *between(x, self.reference), self.within_reference))}

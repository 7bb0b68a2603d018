"""Maximum mean discrepancy between CLIP embeddings of two image sets (CMMD)."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.errors import check_number
from latentbench.features.cache import cached
from latentbench.metrics.feature_set import FeatureSetMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.kernel_distance import Kernel, distance_from_sums, sums_between, sums_within
from latentbench.metrics.measurements import Estimate, Measurements, Quantity

TOLERANCE = 1e-3  # by which the length of an embedding may differ from 1


def gaussian(bandwidth: float) -> Kernel:
    """k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))."""

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        squared = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
        return (squared / (-2 * bandwidth**2)).exp_()

    return Kernel(pairs, lambda x: x.new_ones(len(x)))


class ClipDiscrepancy(FeatureSetMetric):
    """`cmmd/<set>`: `scale` times the squared MMD between embeddings of a set and those of as many test images.

    The kernel is a Gaussian of standard deviation `bandwidth`. Embeddings are of length 1, as those of `features=clip`
    are; in other features there is no CMMD, and it is skipped.
    Unlike `fid` it supposes no distribution of the embeddings, and the estimate is unbiased: it is about 0, and may be
    negative, if the two sets are from one distribution.
    The standard error is that of the jackknife, as of `kid`.
    Raises: UserError for a bandwidth or a scale that is not above 0.
    Source: Jayasumana et al. 2024, and its code for bandwidth and scale. Where we differ: the code adds every vector's
    kernel with itself, which makes values of N images greater by less than 2 scale (1 - exp(-2 / bandwidth^2)) / N.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"cmmd": Quantity("", higher_is_better=False)}
    min_images = 3

    def __init__(self, *, bandwidth: float, scale: float) -> None:
        super().__init__()
        self.bandwidth = check_number("metric.cmmd.bandwidth", bandwidth, above=0)
        self.scale = check_number("metric.cmmd.scale", scale, above=0)
        self.kernel = gaussian(self.bandwidth)

    def measure(self, inputs: MetricInputs) -> Measurements:
        """The discrepancy of every set; skipped if the features are not of length 1."""
        lengths = inputs.reference_features.norm(dim=1)
        if (lengths - 1).abs().max() <= TOLERANCE:
            return super().measure(inputs)
        reason = f"CMMD is of embeddings of length 1, which {inputs.features.name} are not: take features=clip"
        measurements = Measurements()
        for set_name in dict.fromkeys([*inputs.images, *inputs.skipped]):
            measurements.skip(self.quantities, set_name, reason)
        return measurements

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.reference = inputs.reference_features
        name = f"gaussian kernels {self.bandwidth}"
        (self.within_reference,) = cached(name, [self.reference], lambda: [sums_within(self.reference, self.kernel)])

    def compute(self) -> dict[str, Estimate]:
        x = self.all_features()
        sums = sums_within(x, self.kernel), *sums_between(x, self.reference, self.kernel), self.within_reference
        return {"cmmd": Estimate(*distance_from_sums(*sums)).divided_by(1 / self.scale)}

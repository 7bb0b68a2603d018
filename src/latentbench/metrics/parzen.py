"""Parzen window estimate of the log-likelihood of test images."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_number, check_whole_number
from latentbench.metrics.base import ImageMetric
from latentbench.metrics.blocks import block_size
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.log_sum_exp import log_sum_exp
from latentbench.metrics.measurements import Estimate, Quantity, mean_of

CHUNK = 100  # points whose distances to all centres are in a cache at once


def parzen_log_likelihood(points: Tensor, centres: Tensor, bandwidths: Tensor) -> Tensor:
    """log p(x) of each point under the mixture 1/M sum_j N(x; c_j, h^2 I), for each bandwidth.

    log p(x) = logsumexp_j(-|x - c_j|^2 / 2 h^2) - log M - D/2 log(2 pi h^2)

    Shape: points (N, D), centres (M, D), bandwidths (K,) -> (K, N), float64. Units: nats.
    Source: Breuleux et al. 2011; Goodfellow et al. 2014, section 5.
    """
    dimensions = points.shape[1]
    constant = math.log(len(centres)) + 0.5 * dimensions * (2 * math.pi * bandwidths.double().square()).log()
    # In float64, because differences between large squares are divided by a small h^2.
    centres = centres.double()
    squares = centres.square().sum(1)
    log_sums = centres.new_empty(len(bandwidths), len(points))
    size = block_size(CHUNK, points)
    for chunk, sums in zip(points.split(size), log_sums.split(size, dim=1), strict=True):
        exact = chunk.double()
        squared = torch.addmm(squares, exact, centres.T, alpha=-2).add_(exact.square().sum(1, keepdim=True))
        for row, h in zip(sums, bandwidths.tolist(), strict=True):
            row.copy_(log_sum_exp(squared / (-2 * h**2), 1))
    return log_sums - constant[:, None]


class ParzenWindow(ImageMetric):
    """`parzen/<sampler>`: mean log-likelihood of test images under a Gaussian window on as many samples, nats; for
    comparison with older tables.

    Its standard error is s / sqrt(N) over the N test images, for fixed samples.
    `parzen_bandwidth/<sampler>`: the bandwidth, the best of a grid on the first `validation_images`; training images
    where validation images are what is measured against. A caveat says if it is at the edge of the grid.
    Source: the protocol of Goodfellow et al. 2014, section 5, as in its published code: 10,000 samples, 10 bandwidths
    from 0.1 to 1, 1,000 validation images. Where we differ: the number of samples is that of the smaller of
    the validation and the test split. That is 10,000 for MNIST, but 360 for the digits, whose values cannot be compared
    with any published ones.

    This is not a likelihood of the model, and it misleads (Theis et al. 2016, section 3.2): k-means centroids of the
    training images, although blurred, score higher than as many real images; copies of training images score as high as
    real ones; and in many dimensions no affordable number of samples comes close to the true value.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "parzen": Quantity("nats", higher_is_better=True),
        "parzen_bandwidth": Quantity("pixel range", higher_is_better=None),
    }
    # Validation images select the bandwidth. If they were centres too, they would select 0.
    other_sets = ()
    centres: list[Tensor]

    def __init__(self, *, bandwidths: Mapping[str, Any], validation_images: int) -> None:
        super().__init__()
        lowest = check_number("metric.parzen.bandwidths.lowest", bandwidths["lowest"], above=0)
        highest = check_number("metric.parzen.bandwidths.highest", bandwidths["highest"], minimum=lowest)
        count = check_whole_number("metric.parzen.bandwidths.count", bandwidths["count"], minimum=1)
        self.grid = torch.logspace(math.log10(lowest), math.log10(highest), count, dtype=torch.float64)
        self.validation_images = check_whole_number("metric.parzen.validation_images", validation_images, minimum=1)
        self.add_lists("centres")

    def prepare_reference(self, inputs: MetricInputs) -> None:
        self.test = inputs.reference.flatten(1)
        expected = inputs.data.expected_images(inputs.real_split, slice(self.validation_images))
        self.validation = expected.to(inputs.reference.device).flatten(1)

    def update(self, images: Tensor) -> None:
        self.centres.append(images.flatten(1))

    def compute(self) -> dict[str, Estimate]:
        """Mean log-likelihood of the test images, with the bandwidth that is best on validation images."""
        centres = dim_zero_cat(self.centres)
        grid = self.grid.to(centres.device)
        best = grid[parzen_log_likelihood(self.validation, centres, grid).mean(1).argmax()]
        (log_likelihood,) = parzen_log_likelihood(self.test, centres, best[None])
        caveat = ""
        ends = {grid[0].item(): "lowest", grid[-1].item(): "highest"}
        if len(ends) > 1 and (end := ends.get(best.item())):
            caveat = (
                f"the best bandwidth, {best:.3g}, is the {end} of the grid; a better one may be outside: "
                f"change metric.parzen.bandwidths.{end}"
            )
        return {
            "parzen": mean_of(log_likelihood)._replace(caveat=caveat),
            "parzen_bandwidth": Estimate(best, None),
        }

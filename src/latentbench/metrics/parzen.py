"""Parzen window estimate of the likelihood of test images."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.errors import UserError
from latentbench.metrics.base import Evidence, ImageMetric, Quantity

CHUNK = 500  # points whose distances to all centres are held at once


def parzen_log_likelihood(points: Tensor, centres: Tensor, bandwidths: Tensor) -> Tensor:
    """log p(x) under the mixture 1/M sum_j N(x; c_j, h^2 I), for every point and bandwidth.

    log p(x) = logsumexp_j(-|x - c_j|^2 / 2 h^2) - log M - D/2 log(2 pi h^2)

    Shape: points (N, D), centres (M, D), bandwidths (K,) -> (K, N). Units: nats.
    Source: Breuleux et al. 2011; Goodfellow et al. 2014, section 5. Known to mislead in many dimensions
    (Theis et al. 2016, section 3.2).
    """
    dimensions = points.shape[1]
    constant = math.log(len(centres)) + 0.5 * dimensions * (2 * math.pi * bandwidths.double().square()).log()
    rows = []
    for chunk in points.split(CHUNK):
        # In float64: differences of large squares are divided by a small h^2.
        squared = torch.cdist(chunk.double(), centres.double()).square_()
        rows.append(torch.stack([(squared / (-2 * h**2)).logsumexp(1) for h in bandwidths.tolist()]))
    return torch.cat(rows, dim=1) - constant[:, None]


class ParzenWindow(ImageMetric):
    """`parzen/<sampler>`, nats per test image, at `parzen_bandwidth/<sampler>`, the best on validation images."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "parzen": Quantity("nats", higher_is_better=True),
        "parzen_bandwidth": Quantity("pixel range", higher_is_better=None),
    }
    of = ()  # validation images choose the bandwidth: as centres they would choose 0
    centres: list[Tensor]

    def __init__(self, *, bandwidths: Mapping[str, float], validation_images: int) -> None:
        super().__init__()
        lowest, highest, count = bandwidths["lowest"], bandwidths["highest"], bandwidths["count"]
        if not 0 < lowest <= highest or count < 1 or validation_images < 1:
            raise UserError(
                "metric.parzen: bandwidths need 0 < lowest <= highest and a count of 1 or more, and "
                "validation_images must be 1 or more"
            )
        self.grid = torch.logspace(math.log10(lowest), math.log10(highest), int(count), dtype=torch.float64)
        self.validation_images = validation_images
        self.add_state("centres", [], dist_reduce_fx="cat")

    def prepare(self, evidence: Evidence) -> None:
        """Keep the images to be explained."""
        self.test = evidence.reference.flatten(1)
        expected = evidence.data.expected_images("validation")[: self.validation_images]
        self.validation = expected.to(evidence.reference.device).flatten(1)

    def update(self, images: Tensor) -> None:
        """Add a batch (B, C, H, W) of the window's centres."""
        self.centres.append(images.flatten(1))

    def compute(self) -> dict[str, Tensor]:
        """Mean log-likelihood of the test images at the bandwidth that is best on validation images."""
        centres = torch.cat(self.centres) if isinstance(self.centres, list) else self.centres
        grid = self.grid.to(centres.device)
        best = grid[parzen_log_likelihood(self.validation, centres, grid).mean(1).argmax()]
        return {
            "parzen": parzen_log_likelihood(self.test, centres, best[None]).mean(),
            "parzen_bandwidth": best,
        }

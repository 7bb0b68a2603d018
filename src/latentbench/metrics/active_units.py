"""Number of active latent coordinates."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_number
from latentbench.metrics.base import ModelMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity
from latentbench.models.base import GenerativeModel


def active_units(codes: Tensor, threshold: float) -> Estimate:
    """Number of coordinates whose variance over images is above the threshold.

    Its standard error is sqrt(sum_d p_d (1 - p_d)), where p_d = Phi((v_d - threshold) / s_d) is the probability that
    coordinate d is active, v_d its variance, s_d = sqrt((m4_d - v_d^2) / N) the standard error of that variance and m4
    the fourth central moment.
    Shape: codes (N, D) -> scalar from 0 to D.
    Source: Burda et al. 2016, section 5.2: Cov_x(E_q(u|x)[u]) > 0.01.
    """
    squares = (codes.double() - codes.double().mean(0)).square()
    variance = squares.sum(0) / (len(codes) - 1)
    error = squares.std(0) / math.sqrt(len(codes))
    probability = torch.special.ndtr((variance - threshold) / error.clamp(min=torch.finfo(error.dtype).tiny))
    return Estimate((variance > threshold).sum().double(), (probability * (1 - probability)).sum().sqrt())


class ActiveUnits(ModelMetric):
    """`active_units/test`: number of coordinates of the posterior mean that vary over test images by more than
    `threshold`.

    The threshold is meant for priors of variance 1. A number below the latent size shows that some coordinates
    have collapsed: the regularizer has made them independent of the image.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"active_units": Quantity("coordinates", higher_is_better=None)}
    codes: list[Tensor]

    def __init__(self, *, threshold: float) -> None:
        super().__init__()
        self.threshold = check_number("metric.active_units.threshold", threshold, above=0)
        self.add_lists("codes")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder to R^n or into a box."""
        return inputs.model.cannot("active_units", binary=inputs.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        self.codes.append(model.encode(images))

    def compute(self) -> dict[str, Estimate]:
        return {"active_units": active_units(dim_zero_cat(self.codes), self.threshold)}

"""Coordinates of the latent that say something about the image."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_number
from latentbench.metrics.base import Estimate, MetricInputs, ModelMetric, Quantity
from latentbench.models.base import GenerativeModel


def active_units(codes: Tensor, threshold: float) -> Estimate:
    """Number of coordinates whose variance over images is above the threshold: (N, D) -> (), D or less.

    Its error is sqrt(sum_d p_d (1 - p_d)), p_d = Phi((v_d - threshold) / s_d) the chance that coordinate d is active,
    v_d its variance and s_d = sqrt((m4_d - v_d^2) / N) that variance's standard error, m4 the fourth central moment.
    Source: Burda et al. 2016, section 5.2: Cov_x(E_q(u|x)[u]) > 0.01.
    """
    squares = (codes.double() - codes.double().mean(0)).square()
    variance = squares.sum(0) / (len(codes) - 1)
    error = squares.std(0) / math.sqrt(len(codes))
    chance = torch.special.ndtr((variance - threshold) / error.clamp(min=torch.finfo(error.dtype).tiny))
    return Estimate((variance > threshold).sum().double(), (chance * (1 - chance)).sum().sqrt())


class ActiveUnits(ModelMetric):
    """`active_units/test`: coordinates of the posterior's mean that vary over test images by more than `threshold`.

    The threshold is for priors of variance 1. A latent size that is not reached says that the regularizer has
    switched coordinates off; an encoder that nothing regularizes switches off none.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"active_units": Quantity("coordinates", higher_is_better=None)}
    codes: list[Tensor]

    def __init__(self, *, threshold: float) -> None:
        super().__init__()
        self.threshold = check_number("metric.active_units.threshold", threshold, above=0)
        self.keep("codes")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder to R^n or into a box."""
        return inputs.model.cannot("units", binary=inputs.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add the codes of a batch (B, C, H, W)."""
        self.codes.append(model.code(images))

    def compute(self) -> dict[str, Estimate]:
        """The number."""
        return {"active_units": active_units(dim_zero_cat(self.codes), self.threshold)}

"""Distortion of an autoencoder's code."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.errors import UserError
from latentbench.metrics.base import Evidence, ModelMetric, Quantity, mean_state
from latentbench.models.base import GenerativeModel


class Distortion(ModelMetric):
    """`distortion/test` = E_x E_q(z|x)[-log p(x|z)], nats per image, the mean of `samples` draws per image.

    Source: Alemi et al. 2018, section 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"distortion": Quantity("nats", higher_is_better=False)}
    batch_size = 200
    nats: Tensor
    count: Tensor

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        if samples < 1:
            raise UserError(f"metric.distortion.samples={samples}: take 1 draw or more")
        self.samples = samples
        mean_state(self, "nats")

    def refuses(self, evidence: Evidence) -> str | None:
        """Needs a likelihood that is a density of these pixels."""
        return evidence.model.lacks("distortion", binary=evidence.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        z = model.posterior_distribution(images).sample((self.samples,))
        self.nats -= model.pixel_log_prob(images, z).mean(0).double().sum()
        self.count += len(images)

    def compute(self) -> dict[str, Tensor]:
        """Mean over images."""
        return {"distortion": self.nats / self.count}

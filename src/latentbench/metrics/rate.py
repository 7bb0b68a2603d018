"""Rate of an autoencoder's code."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.errors import UserError
from latentbench.metrics.base import Evidence, ModelMetric, Quantity, mean_state
from latentbench.models.base import GenerativeModel


class Rate(ModelMetric):
    """`rate/test` = E_x KL(q(z|x) || p(z)), nats per image, whatever loss the model was trained on.

    Where there is no closed form: the mean of log q(z|x) - log p(z) over `samples` draws per image.
    Rate plus distortion is minus the ELBO. Source: Alemi et al. 2018, section 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"rate": Quantity("nats", higher_is_better=None)}
    batch_size = 200
    nats: Tensor
    count: Tensor

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        if samples < 1:
            raise UserError(f"metric.rate.samples={samples}: take 1 draw or more")
        self.samples = samples
        mean_state(self, "nats")

    def refuses(self, evidence: Evidence) -> str | None:
        """Needs a posterior with a density."""
        return evidence.model.lacks("rate", binary=evidence.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        q = model.posterior_distribution(images)
        self.nats += model.kl_per_image(q, q.sample((self.samples,))).double().sum()
        self.count += len(images)

    def compute(self) -> dict[str, Tensor]:
        """Mean over images."""
        return {"rate": self.nats / self.count}

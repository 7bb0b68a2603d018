"""Rate of an autoencoder's code."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import DrawnMetric, MetricInputs, Quantity
from latentbench.models.base import GenerativeModel


class Rate(DrawnMetric):
    """`rate/test` = E_x KL(q(z|x) || p(z)), nats per image, whatever loss the model was trained on.

    Where there is no closed form: the mean of log q(z|x) - log p(z) over `samples` draws per image.
    Rate plus distortion is minus the ELBO. Source: Alemi et al. 2018, section 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"rate": Quantity("nats", higher_is_better=None)}
    batch_size = 200

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a posterior with a density."""
        return inputs.model.cannot("rate", binary=inputs.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), nats, (B,)."""
        q = model.posterior_distribution(images)
        return model.kl_per_image(q, q.sample((self.samples,)))

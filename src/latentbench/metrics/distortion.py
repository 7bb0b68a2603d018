"""Distortion of an autoencoder's code."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import DrawnMetric, MetricInputs, Quantity
from latentbench.models.base import GenerativeModel


class Distortion(DrawnMetric):
    """`distortion/test` = E_x E_q(z|x)[-log p(x|z)], nats per image, the mean of `samples` draws per image.

    Low at a high rate is no merit: it is one half of a trade. Source: Alemi et al. 2018, section 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"distortion": Quantity("nats", higher_is_better=None)}
    batch_size = 200

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a likelihood that is a density of these pixels."""
        return inputs.model.cannot("distortion", binary=inputs.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """E_q(z|x)[-log p(x|z)], nats, (B,)."""
        z = model.posterior_distribution(images).sample((self.samples,))
        return -model.pixel_log_prob(images, z).mean(0)

"""Distortion: the expected negative log-likelihood of an image given its latent."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import MonteCarloMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Quantity
from latentbench.models.base import GenerativeModel


class Distortion(MonteCarloMetric):
    """`distortion/test` = E_x E_q(z|x)[-log p(x|z)], the mean over `samples` draws per image.

    A low distortion is not better by itself: it can be bought with a high rate.
    Units: nats per image. Source: Alemi et al. 2018, section 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"distortion": Quantity("nats", higher_is_better=None)}
    of_pixels = frozenset(quantities)
    batch_size = 200

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a likelihood that is a density of these pixels."""
        return inputs.model.cannot("distortion", binary=inputs.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        z = model.posterior_distribution(images).sample((self.samples,))
        return -model.pixel_log_prob(images, z).mean(0)

"""Rate: the KL divergence from posterior to prior."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import MonteCarloMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Quantity
from latentbench.models.base import GenerativeModel


class Rate(MonteCarloMetric):
    """`rate/test` = E_x KL(q(z|x) || p(z)), whatever loss the model was trained with.

    Where the KL divergence has no closed form, it is the mean of log q(z|x) - log p(z) over `samples` draws per image.
    Rate plus distortion is the negative ELBO.
    Units: nats per image. Source: Alemi et al. 2018, section 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"rate": Quantity("nats", higher_is_better=None)}
    batch_size = 200

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a posterior with a density, or a closed form."""
        return inputs.model.cannot("rate", binary=inputs.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        q = model.posterior_distribution(images)
        return model.kl_per_image(q, q.sample((self.samples,)))

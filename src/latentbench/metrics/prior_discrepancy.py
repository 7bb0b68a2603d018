"""Maximum mean discrepancy between all codes together and the prior."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.distributions.sampling import expected_squared_distance
from latentbench.errors import UserError, check_number, check_whole_number
from latentbench.metrics.base import Estimate, MetricInputs, ModelMetric, Quantity
from latentbench.metrics.kernel_distance import from_sums
from latentbench.models.base import GenerativeModel
from latentbench.regularizers.maximum_mean_discrepancy import inverse_multiquadric, squared_distances


class PriorDiscrepancy(ModelMetric):
    """`prior_mmd/test`: unbiased MMD^2 between draws of q(z|x), one per test image, and as many of p(z).

    The kernel is that of `regularizer=mmd`: inverse multiquadrics of widths `scales` times the expected squared
    distance of two of p's draws, averaged, so that the value lies between about 0 and 2. About 0 for an aggregate that
    is the prior, where an unbiased estimate may be negative; no density is needed, so that every encoder can be asked.
    Source: Gretton et al. 2012, equation 3. Raises: UserError for less than two images or for no scale above 0.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"prior_mmd": Quantity("", higher_is_better=False)}
    codes: list[Tensor]
    draws: list[Tensor]

    def __init__(self, *, images: int, scales: Sequence[float]) -> None:
        super().__init__()
        if not isinstance(scales, list | tuple) or not scales:
            raise UserError(f"metric.prior_mmd.scales={scales}: give a list of one or more numbers above 0")
        self.scales = [check_number("metric.prior_mmd.scales", scale, above=0) for scale in scales]
        self.max_images = check_whole_number("metric.prior_mmd.images", images, minimum=2)
        self.keep("codes", "draws")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder."""
        return inputs.model.cannot("encode", binary=inputs.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add draws of q for a batch (B, C, H, W), and as many of p."""
        self.prior = model.prior_distribution()
        self.codes.append(model.posterior_distribution(images).sample())
        self.draws.append(self.prior.sample(images.shape[:1]))

    def compute(self) -> dict[str, Estimate]:
        """The estimate and its error, by leaving out one code and one draw at a time."""
        codes, draws = (dim_zero_cat(latents).double() for latents in (self.codes, self.draws))
        apart = expected_squared_distance(self.prior)
        widths = [scale * apart for scale in self.scales]

        def similarity(a: Tensor, b: Tensor) -> Tensor:
            squared = squared_distances(a, b)
            return torch.stack([inverse_multiquadric(squared, width) for width in widths]).mean(0)

        of_codes, of_draws = (similarity(own, own).fill_diagonal_(0).sum(1) for own in (codes, draws))
        both = similarity(codes, draws)
        return {"prior_mmd": Estimate(*from_sums(of_codes, both.sum(1), both.sum(0), of_draws))}

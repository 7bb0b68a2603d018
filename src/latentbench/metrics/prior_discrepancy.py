"""Maximum mean discrepancy between aggregate posterior and prior."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.distributions.sampling import expected_squared_distance
from latentbench.errors import UserError, check_number, check_whole_number
from latentbench.metrics.base import ModelMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.kernel_distance import distance_from_sums
from latentbench.metrics.measurements import Estimate, Quantity
from latentbench.models.base import GenerativeModel
from latentbench.regularizers.maximum_mean_discrepancy import inverse_multiquadric, squared_distances


class PriorDiscrepancy(ModelMetric):
    """`prior_mmd/test`: unbiased MMD^2 between draws of q(z|x), one per test image, and as many draws of p(z).

    The kernel is that of `regularizer=mmd` divided by the number of scales: the average of inverse multiquadrics whose
    widths are `scales` times the expected squared distance between two draws of p. Values lie between about 0 and 2. If
    the aggregate posterior equals the prior, the value is about 0, and may be negative because the estimate is
    unbiased. It needs no density, so that it is available for every encoder.
    Raises: UserError for fewer than two images or a scale that is not above 0.
    Source: Gretton et al. 2012, equation 3.
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
        self.add_lists("codes", "draws")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder."""
        return inputs.model.cannot("encode", binary=inputs.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add draws of q for a batch (B, C, H, W), and as many draws of p."""
        self.prior = model.prior_distribution()
        self.codes.append(model.posterior_distribution(images).sample())
        self.draws.append(self.prior.sample(images.shape[:1]))

    def compute(self) -> dict[str, Estimate]:
        codes, draws = (dim_zero_cat(latents).double() for latents in (self.codes, self.draws))
        expected_distance = expected_squared_distance(self.prior, draws=draws)
        widths = [scale * expected_distance for scale in self.scales]

        def similarity(a: Tensor, b: Tensor) -> Tensor:
            squared = squared_distances(a, b)
            total = torch.zeros_like(squared)
            for width in widths:
                total += inverse_multiquadric(squared, width)
            return total / len(widths)

        within_codes, within_draws = (similarity(z, z).fill_diagonal_(0).sum(1) for z in (codes, draws))
        between = similarity(codes, draws)
        sums = within_codes, between.sum(1), between.sum(0), within_draws
        return {"prior_mmd": Estimate(*distance_from_sums(*sums))}

"""Maximum mean discrepancy between all codes together and the prior."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.distributions.draws import spread
from latentbench.errors import UserError, whole_number
from latentbench.metrics.base import Evidence, ModelMetric, Quantity
from latentbench.models.base import GenerativeModel
from latentbench.regularizers.maximum_mean_discrepancy import mmd_squared


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
        if isinstance(scales, str) or not scales or not all(scale > 0 for scale in scales):
            raise UserError(f"metric.prior_mmd.scales={scales}: give one or more numbers above 0")
        self.most = whole_number("metric.prior_mmd.images", images, least=2)
        self.scales = list(scales)
        self.add_state("codes", [], dist_reduce_fx="cat")
        self.add_state("draws", [], dist_reduce_fx="cat")

    def refuses(self, evidence: Evidence) -> str | None:
        """Needs an encoder."""
        return evidence.model.lacks("encode", binary=evidence.data.is_binary)

    def seen(self, evidence: Evidence) -> Tensor:
        """Some of them."""
        return self.some(evidence.test, self.most)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add draws of q for a batch (B, C, H, W), and as many of p."""
        self.prior = model.prior_distribution()
        self.codes.append(model.posterior_distribution(images).sample())
        self.draws.append(self.prior.sample(images.shape[:1]))

    def compute(self) -> dict[str, Tensor]:
        """The estimate."""
        widths = [scale * spread(self.prior) for scale in self.scales]
        codes, draws = dim_zero_cat(self.codes), dim_zero_cat(self.draws)
        mmd = mmd_squared(codes, draws, kernel="inverse_multiquadric", widths=widths, estimator="unbiased")
        return {"prior_mmd": mmd / len(self.scales)}

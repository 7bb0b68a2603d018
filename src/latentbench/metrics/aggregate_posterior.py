"""The aggregate posterior q(z): its mutual information with the image, and its divergence from the prior."""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_whole_number
from latentbench.metrics.base import ModelMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Measurements, Quantity, mean_of
from latentbench.models.base import GenerativeModel

MAX_ELEMENTS = 2**22  # of the array of log-densities that is in memory at once
SATURATION_MARGIN = 0.5  # nats; the mutual information is saturated if it is this close to its maximum, log N


class Densities(NamedTuple):
    """Log-densities of draws z ~ q(z|x_n), nats."""

    own: Tensor  # log q(z|x_n), (S, N)
    aggregate: Tensor  # log q(z) = log 1/N sum_m q(z|x_m), (S, N)
    prior: Tensor  # log p(z), (S, N)
    factors: Tensor | None  # sum_d log q(z_d), (S, N); None unless q has independent coordinates


def densities(q: Distribution, p: Distribution, z: Tensor, *, is_factorised: bool) -> Densities:
    """Log-densities of draws z (S, N, D) from q, batch shape (N,).

    is_factorised: True if q has independent coordinates, and so a `factor_log_prob`
    """
    n = z.shape[1]
    aggregate, factors = [], []
    for chunk in z.flatten(0, 1).split(max(1, MAX_ELEMENTS // (n * z.shape[2]))):
        if is_factorised:
            per_coordinate = q.factor_log_prob(chunk[:, None])  # type: ignore[attr-defined]  # (chunk, N, D)
            factors.append((per_coordinate.double().logsumexp(1) - math.log(n)).sum(-1))
            log_q_each = per_coordinate.double().sum(-1)
        else:
            log_q_each = q.log_prob(chunk[:, None]).double()
        aggregate.append(log_q_each.logsumexp(1) - math.log(n))
    return Densities(
        own=q.log_prob(z).double(),
        aggregate=torch.cat(aggregate).view(z.shape[:2]),
        prior=p.log_prob(z).double(),
        factors=torch.cat(factors).view(z.shape[:2]) if is_factorised else None,
    )


class AggregatePosterior(ModelMetric):
    """The two parts of the rate, with the aggregate posterior q(z) = 1/N sum_n q(z|x_n) over N test images.

    `mutual_information/test` = E[log q(z|x) - log q(z)], between image and latent, from 0 to log N
    `marginal_kl/test` = E[log q(z) - log p(z)] = KL(q(z) || p(z)). The two add up to the rate.
    `total_correlation/test` = E[log q(z) - sum_d log q(z_d)], the part of `marginal_kl` that is due to dependence
    between coordinates
    Each is a mean over `images` test images and `samples` draws per image.
    Units: nats. Raises: UserError for fewer than two images or less than one draw.
    Source: Hoffman & Johnson 2016, section 2; Chen et al. 2018, equation 2.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "mutual_information": Quantity("nats", higher_is_better=None),
        "marginal_kl": Quantity("nats", higher_is_better=False),
        "total_correlation": Quantity("nats", higher_is_better=None),
    }

    images: list[Tensor]
    draws: list[Tensor]
    batch_size = 200

    def __init__(self, *, images: int, samples: int) -> None:
        super().__init__()
        self.max_images = check_whole_number("metric.aggregate_posterior.images", images, minimum=2)
        self.samples = check_whole_number("metric.aggregate_posterior.samples", samples, minimum=1)
        self.add_lists("images", "draws")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a posterior with a density in the space of the prior."""
        return inputs.model.cannot("posterior_density", binary=inputs.data.is_binary)

    def measure(self, inputs: MetricInputs) -> Measurements:
        """Skips the total correlation if the coordinates of the posterior are not independent."""
        measurements = super().measure(inputs)
        reason = inputs.model.cannot("independent_coordinates", binary=inputs.data.is_binary)
        if reason and measurements.values:
            measurements.skipped["total_correlation/test"] = reason
        return measurements

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Store a batch (B, C, H, W) and draws from its posteriors; their densities need all other images."""
        self.model = model
        self.images.append(images)
        self.draws.append(model.posterior_distribution(images).sample(torch.Size([self.samples])).transpose(0, 1))

    def compute(self) -> dict[str, Estimate]:
        images, z = dim_zero_cat(self.images), dim_zero_cat(self.draws).transpose(0, 1)
        q = self.model.posterior_distribution(images)
        is_factorised = self.model.cannot("independent_coordinates", binary=False) is None
        log_q = densities(q, self.model.prior_distribution(), z, is_factorised=is_factorised)
        per_draw = {"mutual_information": log_q.own - log_q.aggregate, "marginal_kl": log_q.aggregate - log_q.prior}
        if log_q.factors is not None:
            per_draw["total_correlation"] = log_q.aggregate - log_q.factors
        # The standard errors ignore that q(z) is built from the same images. To first order this only shifts the means
        # by a constant, because q(z) integrates to 1.
        means = {name: mean_of(values.mean(0)) for name, values in per_draw.items()}
        if means["mutual_information"].value < math.log(len(images)) - SATURATION_MARGIN:
            return means
        caveat = (
            f"mutual_information is within {SATURATION_MARGIN} nats of log {len(images)}, the maximum for this number "
            "of images: it may be too low, and marginal_kl and total_correlation too high; increase "
            "metric.aggregate_posterior.images if the test split has more"
        )
        return {name: mean._replace(caveat=caveat) for name, mean in means.items()}

"""The aggregate posterior q(z): its mutual information with the image, and its divergence from the prior."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_whole_number
from latentbench.metrics.base import ModelMetric
from latentbench.metrics.blocks import block_size
from latentbench.metrics.inputs import CHUNK, MetricInputs
from latentbench.metrics.log_sum_exp import log_sum_exp
from latentbench.metrics.measurements import Estimate, Measurements, Quantity, mean_of
from latentbench.models.base import GenerativeModel

MAX_ELEMENTS = 2**18  # of the array of log-densities in memory at once: 2 MB, which fit into a processor's cache


class LogMeans(NamedTuple):
    """Log of mean densities of M posteriors at draws z ~ q(z|x_n), summed over factors, (S, N), nats."""

    of_all: Tensor  # log 1/M sum_m q(z|x_m): too high for log q(z) in expectation
    of_others: Tensor  # log 1/(M-1) sum_(m != n) q(z|x_m): too low


class Densities(NamedTuple):
    """Log-densities of draws z ~ q(z|x_n), nats, float64."""

    own: Tensor  # log q(z|x_n), (S, N)
    prior: Tensor  # log p(z), (S, N)
    aggregate: LogMeans  # log q(z)
    factors: LogMeans | None  # sum_d log q(z_d); None unless the posteriors have independent coordinates


def densities(posteriors: Sequence[Distribution], p: Distribution, z: Tensor, *, is_factorised: bool) -> Densities:
    """Log-densities of draws z (S, N, D), of which z[:, n] are from the n-th posterior.

    posteriors: distributions of batch shape (M_k,), M >= N posteriors in all
    is_factorised: True if they have independent coordinates, and so a `factor_log_prob`
    """
    samples, n, size = z.shape
    largest = max(q.batch_shape[0] for q in posteriors)
    rows = max(1, block_size(MAX_ELEMENTS, z) // (largest * size))
    images = torch.arange(n, device=z.device).repeat(samples)
    parts = [
        _split_own(posteriors, *part, is_factorised=is_factorised)
        for part in zip(z.flatten(0, 1).split(rows), images.split(rows), strict=True)
    ]
    own, others, own_factors, other_factors = (torch.cat(of_parts) for of_parts in zip(*parts, strict=True))
    total = sum(q.batch_shape[0] for q in posteriors)

    def log_means(own: Tensor, others: Tensor) -> LogMeans:
        of_all, of_others = torch.logaddexp(own, others) - math.log(total), others - math.log(total - 1)
        return LogMeans(*(of.sum(1).view(samples, n) for of in (of_all, of_others)))

    return Densities(
        own=own.view(samples, n),
        prior=p.log_prob(z).double(),
        aggregate=log_means(own[:, None], others[:, None]),
        factors=log_means(own_factors, other_factors) if is_factorised else None,
    )


def _split_own(
    posteriors: Iterable[Distribution], z: Tensor, images: Tensor, *, is_factorised: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-density of each draw's own posterior, log of the sum of all others; the same of every factor.

    Shape: z (B, D), images (B,), the own posteriors' numbers -> (B,), (B,), (B, F), (B, F); F = 1 if not factorised.
    """
    parts = []
    first = 0
    for q in posteriors:
        count = q.batch_shape[0]
        points = z[:, None]
        each = q.factor_log_prob(points) if is_factorised else q.log_prob(points)[..., None]  # type: ignore[attr-defined]
        each = each.double()  # (B, M_k, F)
        row = ((images >= first) & (images < first + count)).nonzero()[:, 0]  # whose own posterior is among these
        column = images[row] - first
        own = torch.full_like(each[:, 0], -math.inf)
        own[row] = each[row, column]
        each[row, column] = -math.inf
        parts.append((own.sum(1), log_sum_exp(each.sum(2), 1), own, log_sum_exp(each, 1)))
        first += count
    own, others, own_factors, other_factors = (
        torch.stack(of_parts).logsumexp(0) for of_parts in zip(*parts, strict=True)
    )
    return own, others, own_factors, other_factors


class AggregatePosterior(ModelMetric):
    """The two parts of the rate, with the aggregate posterior q(z) = E_x q(z|x) of unseen images.

    Mutual information E[log q(z|x) - log q(z)], between image and latent
    Marginal KL E[log q(z) - log p(z)] = KL(q(z) || p(z)). The two add up to the rate.
    Total correlation E[log q(z) - sum_d log q(z_d)], the part of the marginal KL that is due to dependence between
    coordinates

    q(z) is known from M images alone. At z ~ q(z|x_n) their mean 1/M sum_m q(z|x_m), which includes x_n, is too high,
    and 1/(M-1) sum_(m != n) q(z|x_m) is too low, each for log q(z) in expectation. So each quantity has two bounds:
    `mutual_information/test` from below, at most log M, and `mutual_information_upper/test`
    `marginal_kl/test` from above, and `marginal_kl_lower/test`
    `total_correlation/test` from above, and `total_correlation_lower/test`
    As no KL divergence is below 0, the two `_lower` bounds are not either, and the mutual information is at most the
    rate. A caveat says where the truth lies if two bounds differ by more than the standard error.

    The draws are `samples` for each of `images` test images. The M <= `posteriors` images are test images and then
    validation images; where validation images are measured, these alone. Training images are not among them: an encoder
    that was fitted to these may have other posteriors for them.
    Units: nats. Raises: UserError for fewer than two images, less than one draw or fewer posteriors than images.
    Source: Hoffman & Johnson 2016, section 2; Chen et al. 2018, equation 2; Poole et al. 2019 (both bounds).
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "mutual_information": Quantity("nats", higher_is_better=None),
        "mutual_information_upper": Quantity("nats", higher_is_better=None),
        "marginal_kl": Quantity("nats", higher_is_better=False),
        "marginal_kl_lower": Quantity("nats", higher_is_better=None),
        "total_correlation": Quantity("nats", higher_is_better=None),
        "total_correlation_lower": Quantity("nats", higher_is_better=None),
    }

    images: list[Tensor]
    draws: list[Tensor]
    batch_size = 200

    def __init__(self, *, images: int, samples: int, posteriors: int) -> None:
        super().__init__()
        self.max_images = check_whole_number("metric.aggregate_posterior.images", images, minimum=2)
        self.samples = check_whole_number("metric.aggregate_posterior.samples", samples, minimum=1)
        self.posteriors = check_whole_number("metric.aggregate_posterior.posteriors", posteriors, minimum=images)
        self.other_images: list[Tensor] = []  # whose posteriors join the aggregate
        self.add_lists("images", "draws")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a posterior with a density in the space of the prior."""
        return inputs.model.cannot("posterior_density", binary=inputs.data.is_binary)

    def measure(self, inputs: MetricInputs) -> Measurements:
        """Skips the total correlation if the coordinates of the posterior are not independent."""
        self.other_images = [inputs.held_out[self.max_images :]]
        if inputs.split != "validation":
            self.other_images.append(inputs.data.images("validation").to(inputs.held_out))
        measurements = super().measure(inputs)
        reason = inputs.model.cannot("independent_coordinates", binary=inputs.data.is_binary)
        if reason and measurements.values:
            for quantity in ("total_correlation", "total_correlation_lower"):
                measurements.skipped[f"{quantity}/test"] = reason
        return measurements

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Store a batch (B, C, H, W) and draws from its posteriors; their densities need all other images."""
        self.model = model
        self.images.append(images)
        self.draws.append(model.posterior_distribution(images).sample(torch.Size([self.samples])).transpose(0, 1))

    def compute(self) -> dict[str, Estimate]:
        images, z = dim_zero_cat(self.images), dim_zero_cat(self.draws).transpose(0, 1)
        images = torch.cat([images, *self.other_images])[: self.posteriors]
        log = densities(
            [self.model.posterior_distribution(chunk) for chunk in images.split(CHUNK)],
            self.model.prior_distribution(),
            z,
            is_factorised=self.model.cannot("independent_coordinates", binary=False) is None,
        )
        # The standard errors ignore that q(z) is built from the same images. To first order this only shifts the means
        # by a constant, because q(z) integrates to 1.
        of_all, of_others = log.aggregate
        rate = mean_of((log.own - log.prior).mean(0))
        information = mean_of((log.own - of_all).mean(0)), mean_of((log.own - of_others).mean(0))
        divergence = at_least_0((of_others - log.prior).mean(0)), mean_of((of_all - log.prior).mean(0))
        bounds = {"mutual_information": (information[0], min(information[1], rate)), "marginal_kl": divergence}
        if log.factors is not None:
            bounds["total_correlation"] = (
                at_least_0((of_others - log.factors.of_all).mean(0)),
                mean_of((of_all - log.factors.of_others).mean(0)),
            )
        estimates = {}
        for name, (lower, upper) in bounds.items():
            value, other = (lower, "upper") if f"{name}_upper" in self.quantities else (upper, "lower")
            caveat = (
                f"the truth lies between {lower.value:.3g} and {upper.value:.3g} nats, as far as the posteriors of "
                f"{len(images)} images show; increase metric.aggregate_posterior.posteriors if there are more images"
            )
            is_wide = value.standard_error is None or upper.value - lower.value > value.standard_error
            estimates[name] = value._replace(caveat=caveat if is_wide else "")
            estimates[f"{name}_{other}"] = upper if other == "upper" else lower
        return estimates


def at_least_0(values: Tensor) -> Estimate:
    """The mean of values (N,), of which the expectation is below a number that is 0 or more; 0 if it is less."""
    mean = mean_of(values)
    zero = torch.zeros_like(mean.value)
    return mean if mean.value > 0 else Estimate(zero, zero)

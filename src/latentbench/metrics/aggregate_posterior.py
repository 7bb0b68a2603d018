"""What the codes of all images together are: how much they tell of the image, and how they differ from the prior."""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_whole_number
from latentbench.metrics.base import Estimate, Measurements, MetricInputs, ModelMetric, Quantity, mean_of
from latentbench.models.base import GenerativeModel

NUMBERS = 2**22  # of an array of densities of latents under posteriors that is held at once
NEAR = 0.5  # nats below the most that there can be


class Densities(NamedTuple):
    """Log-densities of draws z of q(z|x_n), nats: of each under its own posterior, all of them together, and p."""

    own: Tensor  # log q(z|x_n), (S, N)
    aggregate: Tensor  # log q(z) = log 1/N sum_m q(z|x_m), (S, N)
    prior: Tensor  # log p(z), (S, N)
    factors: Tensor | None  # sum_d log q(z_d), (S, N), where q has independent coordinates


def densities(q: Distribution, p: Distribution, z: Tensor, *, is_factorised: bool) -> Densities:
    """Densities of draws z (S, N, D) of q, batch shape (N,)."""
    n = z.shape[1]
    aggregate, factors = [], []
    for chunk in z.flatten(0, 1).split(max(1, NUMBERS // (n * z.shape[2]))):
        if is_factorised:
            of_each = q.factor_log_prob(chunk[:, None])  # type: ignore[attr-defined]  # (chunk, N, D)
            factors.append((of_each.double().logsumexp(1) - math.log(n)).sum(-1))
            under = of_each.double().sum(-1)
        else:
            under = q.log_prob(chunk[:, None]).double()
        aggregate.append(under.logsumexp(1) - math.log(n))
    return Densities(
        own=q.log_prob(z).double(),
        aggregate=torch.cat(aggregate).view(z.shape[:2]),
        prior=p.log_prob(z).double(),
        factors=torch.cat(factors).view(z.shape[:2]) if is_factorised else None,
    )


class AggregatePosterior(ModelMetric):
    """The rate's two parts and one of its second, nats, with the aggregate q(z) = 1/N sum_n q(z|x_n) of N test images.

    `mutual_information/test` = E[log q(z|x) - log q(z)], of image and latent, from 0 to log N
    `marginal_kl/test` = E[log q(z) - log p(z)], of the aggregate and the prior; the two add up to the rate
    `total_correlation/test` = E[log q(z) - sum_d log q(z_d)], the part of it that is dependence between coordinates
    Means over `images` test images and `samples` draws of each. Source: Hoffman & Johnson 2016, section 2;
    Chen et al. 2018, equation 2. Raises: UserError for less than two images or one draw.
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
        self.keep("images", "draws")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs a posterior with a density where the prior has one."""
        return inputs.model.cannot("posterior_density", binary=inputs.data.is_binary)

    def measure(self, inputs: MetricInputs) -> Measurements:
        """All three, or two and why there is no third."""
        measured = super().measure(inputs)
        dependent = inputs.model.cannot("factors", binary=inputs.data.is_binary)
        if dependent and measured.numbers:
            measured.skipped["total_correlation/test"] = dependent
        return measured

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Keep a batch (B, C, H, W) and draws of its posteriors: what they are worth shows beside all others."""
        self.model = model
        self.images.append(images)
        self.draws.append(model.posterior_distribution(images).sample(torch.Size([self.samples])).transpose(0, 1))

    def compute(self) -> dict[str, Estimate]:
        """Means over images and draws."""
        images, z = dim_zero_cat(self.images), dim_zero_cat(self.draws).transpose(0, 1)
        q = self.model.posterior_distribution(images)
        is_factorised = self.model.cannot("factors", binary=False) is None
        found = densities(q, self.model.prior_distribution(), z, is_factorised=is_factorised)
        of_each = {"mutual_information": found.own - found.aggregate, "marginal_kl": found.aggregate - found.prior}
        if found.factors is not None:
            of_each["total_correlation"] = found.aggregate - found.factors
        # That q(z) is made of the same images adds nothing to the errors: to first order it moves the means by a
        # constant, as it must integrate to 1.
        means = {name: mean_of(values.mean(0)) for name, values in of_each.items()}
        if means["mutual_information"].value < math.log(len(images)) - NEAR:
            return means
        text = (
            f"mutual_information is within {NEAR} nats of log {len(images)}, the most that so many images can show; "
            "what it lacks is in the others: set metric.aggregate_posterior.images higher where there are more"
        )
        return {name: mean._replace(caveat=text) for name, mean in means.items()}

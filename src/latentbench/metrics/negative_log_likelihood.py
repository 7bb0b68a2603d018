"""Negative log-likelihood of test images by importance sampling."""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from latentbench.errors import check_number
from latentbench.metrics.base import DrawnMetric, Estimate, MetricInputs, Quantity, mean_of
from latentbench.models.base import GenerativeModel

# Rows (images x samples) decoded at once: few enough for the decoder's output to stay in a processor's cache.
ROWS = 2000
HEAVY = 0.7  # of the Pareto shape: above it, estimates of any affordable number of draws are unreliable
FEWEST_IN_TAIL = 5  # weights that a shape can be told from
EQUAL = 1e-4  # nats; log-weights no further apart are one but for rounding
BLIND_SHARE = 10  # draws of q for each one of p that they are compared with


class Weighed(NamedTuple):
    """What the weights w_s = p(x|z_s) p(z_s) / q(z_s|x) of draws z_s ~ q(z|x) say of log p(x); each (B,), float64."""

    log_likelihood: Tensor  # log 1/S sum_s w_s, nats
    of_halves: Tensor  # the mean of the same of either half of the draws, nats
    effective: Tensor  # (sum_s w_s)^2 / sum_s w_s^2, draws
    shape: Tensor  # of the Pareto distribution that the largest weights follow; not a number for few draws


def weigh(model: GenerativeModel, x: Tensor, samples: int) -> Weighed:
    """Weigh `samples` draws of q(z|x) for each image, in one pass and without keeping more weights than the largest.

    Shape: x (B, C, H, W). Source: see NegativeLogLikelihood.
    """
    q, p = model.posterior_distribution(x), model.prior_distribution()
    total, even, odd, squares = torch.full((4, len(x)), -math.inf, dtype=torch.float64, device=x.device)
    largest = total.new_empty(0, len(x))
    tail = int(min(samples / 5, 3 * math.sqrt(samples)))
    step = max(1, ROWS // len(x))
    for start in range(0, samples, step):
        z = q.sample((min(step, samples - start),))
        log_weights = (model.pixel_log_prob(x, z) + p.log_prob(z) - q.log_prob(z)).double()
        total = torch.logaddexp(total, log_weights.logsumexp(0))
        even = torch.logaddexp(even, log_weights[start % 2 :: 2].logsumexp(0))
        odd = torch.logaddexp(odd, log_weights[1 - start % 2 :: 2].logsumexp(0))
        squares = torch.logaddexp(squares, (2 * log_weights).logsumexp(0))
        largest = torch.cat([largest, log_weights])
        largest = largest.topk(min(tail + 1, len(largest)), dim=0).values
    halves = (even - math.log((samples + 1) // 2) + odd - math.log(max(1, samples // 2))) / 2
    return Weighed(
        log_likelihood=total - math.log(samples),
        of_halves=halves,
        effective=(2 * total - squares).exp(),
        shape=pareto_shape(largest),
    )


def importance_weighted_log_likelihood(model: GenerativeModel, x: Tensor, samples: int) -> Tensor:
    """Estimate of log p(x) from below, unbiased for p(x) and consistent as S grows.

    log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),  z_s ~ q(z|x)

    Shape: x (B, C, H, W) -> (B,), float64. Units: nats. Batched over images and samples.
    Source: Burda et al. 2016, equation 8.
    """
    return weigh(model, x, samples).log_likelihood


def pareto_shape(log_weights: Tensor) -> Tensor:
    """Shape k of the generalised Pareto distribution of the excesses of the M largest weights over the next one.

    Shape: log-weights (M + 1, B), the largest first -> (B,). 0 where a quarter of them equals the next one and there is
    no tail, as of draws that are all alike or of a few code words; not a number for M below 5.
    Source: Zhang & Stephens 2009, with the weak prior of Vehtari et al. 2024 (Pareto smoothed importance sampling),
    which pulls k towards 1/2 as ten more weights would.
    """
    tail = len(log_weights) - 1
    if tail < FEWEST_IN_TAIL:
        return log_weights.new_full(log_weights.shape[1:], math.nan)
    weights = (log_weights - log_weights[0]).exp()
    excesses = weights[:-1] - weights[-1]
    at_quartile = tail - int(tail / 4 + 0.5)
    largest, quartile = excesses[0], excesses[at_quartile].clamp(min=torch.finfo(weights.dtype).tiny)
    points = 30 + int(math.sqrt(tail))
    grid = torch.arange(1, points + 1, dtype=weights.dtype, device=weights.device)[:, None] - 0.5
    rates = 1 / largest + (1 - (points / grid).sqrt()) / (3 * quartile)
    shapes = torch.log1p(-rates[:, None] * excesses).mean(1)
    profile = tail * ((-rates / shapes).log() - shapes - 1)
    rate = (rates * profile.softmax(0)).sum(0)
    shape = torch.log1p(-rate * excesses).mean(0)
    are_equal = log_weights[at_quartile] - log_weights[-1] < EQUAL
    return ((tail * shape + 5) / (tail + 10)).where(~are_equal, 0)


def blind_log_likelihood(model: GenerativeModel, x: Tensor, samples: int) -> Tensor:
    """log 1/S sum_s p(x|z_s), z_s ~ p(z): of draws that know nothing of the images x (B, C, H, W). (B,), nats."""
    z = model.prior_distribution().sample(torch.Size((samples, 1)))
    return model.pixel_log_prob(x, z).double().logsumexp(0) - math.log(samples)


class NegativeLogLikelihood(DrawnMetric):
    """`nll/test`, nats per image, and `bits_per_dim/test`, nll / (D log 2); in the mean, upper bounds.

    With a Gaussian likelihood both are of a density of pixel values in units of the range [0, 1], and may be
    negative; with a Bernoulli one, of a probability of binary images. The two cannot be compared.

    The error is s / sqrt(N) over N images, of other test images and other draws: s is of estimates, so that their
    Monte Carlo noise is part of it. Of the bound's looseness it knows nothing, and two models differ by less on the
    same images. `nll_ess/test`: the effective number (sum w)^2 / sum w^2 of an image's draws, in the mean over images;
    an estimate's Monte Carlo error is about sqrt(1/ess - 1/samples) nats.

    A warning tells that the bound is loose:
    - it still falls by more than `flat_within` nats from half of the draws to all, which is also about how much is
      left to fall if the bias is of order 1/samples;
    - the weights have a heavy tail, of a Pareto shape above 0.7 in the mean: q(z|x) is narrower than the posterior,
      draws are much alike, and what they miss no number of them finds;
    - a tenth as many draws of p(z), which know nothing of the image, do better by more than `flat_within` nats: q(z|x)
      is elsewhere than the posterior.
    Source: Burda et al. 2016, equation 8; Kong 1992 (ess); Vehtari et al. 2024 (Pareto shape and 0.7).
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "nll": Quantity("nats", higher_is_better=False),
        "bits_per_dim": Quantity("bits/dim", higher_is_better=False),
        "nll_ess": Quantity("draws", higher_is_better=None),
    }
    batch_size = 20
    effective: list[Tensor]
    fall: list[Tensor]
    shape: list[Tensor]
    blind: list[Tensor]

    def __init__(self, *, samples: int, flat_within: float) -> None:
        super().__init__(samples=samples)
        self.flat_within = check_number("metric.nll.flat_within", flat_within, above=0)
        self.keep("effective", "fall", "shape", "blind")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs densities of latents and of these pixels."""
        return inputs.model.cannot("log_likelihood", binary=inputs.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """-log p(x), nats, (B,); what tells how far to trust it is added up beside it."""
        self.dimensions = images[0].numel()
        weighed = weigh(model, images, self.samples)
        with torch.random.fork_rng():  # nll is of the same draws with and without this
            blind = blind_log_likelihood(model, images, -(-self.samples // BLIND_SHARE))
        self.effective.append(weighed.effective)
        self.fall.append(weighed.log_likelihood - weighed.of_halves)
        self.shape.append(weighed.shape)
        self.blind.append(blind - weighed.log_likelihood)
        return -weighed.log_likelihood

    def compute(self) -> dict[str, Estimate]:
        """Mean over images, in both units, and the effective number of draws."""
        nll = mean_of(self.values)._replace(caveat=self.signs_of_looseness())
        return {
            "nll": nll,
            "bits_per_dim": nll.over(self.dimensions * math.log(2)),
            "nll_ess": mean_of(self.effective),
        }

    def signs_of_looseness(self) -> str:
        """A warning, or nothing."""
        fall, shape, blind = (mean_of(of).value.item() for of in (self.fall, self.shape, self.blind))
        signs = []
        if self.samples > 1 and fall > self.flat_within:
            signs.append(f"it still falls by {fall:.2g} nats from half of the draws to all")
        if shape > HEAVY:
            signs.append(f"its weights' tail is heavy (Pareto shape {shape:.2g}): q(z|x) is too narrow")
        if blind > self.flat_within:
            signs.append(f"draws of the prior, which do not see the image, do better by {blind:.3g} nats")
        if not signs:
            return ""
        more = f"metric.nll.samples={10 * self.samples} takes more draws, metric=[nll,ais] a way that needs no q(z|x)"
        return f"an upper bound, and a loose one: {'; '.join(signs)}; {more}"

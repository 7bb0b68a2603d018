"""Negative log-likelihood of test images by importance sampling."""

import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_number
from latentbench.metrics.base import MonteCarloMetric
from latentbench.metrics.blocks import block_size
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity, mean_of, standard_error
from latentbench.models.base import GenerativeModel

ROWS = 2000  # rows (images x samples) drawn at once, on which the draws depend
DECODED_ROWS = 250  # rows decoded at once: few enough for arrays of the pixels' size to fit into a processor's cache
MAX_SHAPE = 0.7  # Pareto shape above which no affordable number of draws gives a reliable estimate
MIN_TAIL = 5  # fewest weights from which the shape can be estimated
ROUNDING = 1e-4  # nats; log-weights that differ by less are equal up to rounding
DRAWS_PER_PRIOR_DRAW = 10  # a caveat compares the draws of q(z|x) with a tenth as many from p(z)


class ImportanceWeights(NamedTuple):
    """Statistics of the weights w_s = p(x|z_s) p(z_s) / q(z_s|x) of draws z_s ~ q(z|x), (B,) each, float64."""

    log_likelihood: Tensor  # log 1/S sum_s w_s, nats
    from_halves: Tensor  # the same estimate from half of the draws, averaged over both halves, nats
    effective: Tensor  # effective number of draws, (sum_s w_s)^2 / sum_s w_s^2
    shape: Tensor  # of the Pareto distribution of the largest weights; NaN for few draws


def importance_weights(model: GenerativeModel, x: Tensor, samples: int) -> ImportanceWeights:
    """Statistics of the weights of `samples` draws of q(z|x) per image. Only the largest weights stay in memory.

    Shape: x (B, C, H, W). Source: see NegativeLogLikelihood.
    """
    q, p = model.posterior_distribution(x), model.prior_distribution()
    total, even, odd, squares = torch.full((4, len(x)), -math.inf, dtype=torch.float64, device=x.device)
    largest = total.new_empty(0, len(x))
    tail = int(min(samples / 5, 3 * math.sqrt(samples)))
    step = max(1, ROWS // len(x))
    for start in range(0, samples, step):
        z = q.sample((min(step, samples - start),))
        rows = model.backbone.rows_at_once(block_size(DECODED_ROWS, x))
        parts = z.split(max(1, rows // len(x)))
        log_likelihood = torch.cat([model.pixel_log_prob(x, part) for part in parts])
        log_weights = (log_likelihood + p.log_prob(z) - q.log_prob(z)).double()
        total = torch.logaddexp(total, log_weights.logsumexp(0))
        even = torch.logaddexp(even, log_weights[start % 2 :: 2].logsumexp(0))
        odd = torch.logaddexp(odd, log_weights[1 - start % 2 :: 2].logsumexp(0))
        squares = torch.logaddexp(squares, (2 * log_weights).logsumexp(0))
        largest = torch.cat([largest, log_weights])
        largest = largest.topk(min(tail + 1, len(largest)), dim=0).values
    halves = (even - math.log((samples + 1) // 2) + odd - math.log(max(1, samples // 2))) / 2
    return ImportanceWeights(
        log_likelihood=total - math.log(samples),
        from_halves=halves,
        effective=(2 * total - squares).exp(),
        shape=pareto_shape(largest),
    )


def importance_weighted_log_likelihood(model: GenerativeModel, x: Tensor, samples: int) -> Tensor:
    """Lower bound of log p(x) in expectation, unbiased for p(x) and consistent as S grows.

    log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),  z_s ~ q(z|x)

    Shape: x (B, C, H, W) -> (B,), float64. Units: nats.
    Source: Burda et al. 2016, equation 8.
    """
    return importance_weights(model, x, samples).log_likelihood


def pareto_shape(log_weights: Tensor) -> Tensor:
    """Shape k of the generalized Pareto distribution of the excesses of the M largest weights over the next largest.

    Shape: log-weights (M + 1, B), the largest first -> (B,). 0 if a quarter of them equals the next largest: there is
    no tail, because all draws are alike or are among a few code words. NaN for M below 5.
    Source: Zhang & Stephens 2009, with the weak prior of Vehtari et al. 2024 (Pareto smoothed importance sampling),
    which pulls k towards 1/2 with the weight of ten observations.
    """
    tail = len(log_weights) - 1
    if tail < MIN_TAIL:
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
    are_equal = log_weights[at_quartile] - log_weights[-1] < ROUNDING
    return ((tail * shape + 5) / (tail + 10)).where(~are_equal, 0)


def prior_log_likelihood(model: GenerativeModel, x: Tensor, samples: int) -> Tensor:
    """log 1/S sum_s p(x|z_s), z_s ~ p(z): draws from the prior instead of q(z|x). x (B, C, H, W) -> (B,), nats."""
    z = model.prior_distribution().sample(torch.Size((samples, 1)))
    return model.pixel_log_prob(x, z).double().logsumexp(0) - math.log(samples)


class NegativeLogLikelihood(MonteCarloMetric):
    """`nll/test`, nats per image, and `bits_per_dim/test`, nll / (D log 2); both are upper bounds in expectation.

    With a Gaussian likelihood both refer to a density of pixel values in [0, 1], and may be negative. With a Bernoulli
    likelihood they refer to a probability of binary images. With a likelihood of levels they refer to a probability of
    images of 256 levels, as published bits per dimension do, and their units say so. The three cannot be compared.

    The standard error is s / sqrt(N) over N images. The standard deviation s is that of the estimates, so that their
    Monte Carlo noise is included. The looseness of the bound is not. The difference between two models on the same
    images is more certain than the two errors together suggest.
    `nll_ess/test`: the effective number of draws (sum w)^2 / sum w^2, averaged over images. The Monte Carlo error of an
    estimate is about sqrt(1/ess - 1/samples) nats.

    The bound is loose for an image if
    - its weights have a heavy tail, with a Pareto shape above 0.7: the draws are much alike, and no affordable number
      of them reaches what they miss. If a tenth as many draws from p(z) are better, q(z|x) is misplaced, else too
      narrow;
    - the draws from p(z) are better by more than log(20 N) nats. The mean of their likelihoods is p(x), so that chance
      does this to any of N images with a probability of 5 % at most (Markov's inequality).
    A caveat says so
    - if these are most images, or if the mean without them differs by more than the standard error;
    - if the draws from p(z) are better by more than `flat_within` nats on average;
    - if the estimate falls by more than `flat_within` nats from half of the draws to all of them, in the mean over all
      images with those that rise counted as 0. It would fall by about as much again with infinitely many draws if the
      bias is of order 1/samples.
    Source: Burda et al. 2016, equation 8; Kong 1992 (ess); Vehtari et al. 2024 (Pareto shape and 0.7).
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "nll": Quantity("nats", higher_is_better=False),
        "bits_per_dim": Quantity("bits/dim", higher_is_better=False),
        "nll_ess": Quantity("draws", higher_is_better=None),
    }
    of_pixels = frozenset({"nll", "bits_per_dim"})
    batch_size = 20
    effective: list[Tensor]
    decrease: list[Tensor]
    shape: list[Tensor]
    prior_advantage: list[Tensor]

    def __init__(self, *, samples: int, flat_within: float) -> None:
        super().__init__(samples=samples)
        self.flat_within = check_number("metric.nll.flat_within", flat_within, above=0)
        self.add_lists("effective", "decrease", "shape", "prior_advantage")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs densities of latents and of these pixels."""
        return inputs.model.cannot("log_likelihood", binary=inputs.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """-log p(x), nats, (B,). Also collects the diagnostics of its looseness."""
        self.dimensions = images[0].numel()
        weights = importance_weights(model, images, self.samples)
        with torch.random.fork_rng():  # this diagnostic does not change the draws of nll
            from_prior = prior_log_likelihood(model, images, -(-self.samples // DRAWS_PER_PRIOR_DRAW))
        self.effective.append(weights.effective)
        self.decrease.append(weights.log_likelihood - weights.from_halves)
        self.shape.append(weights.shape)
        self.prior_advantage.append(from_prior - weights.log_likelihood)
        return -weights.log_likelihood

    def compute(self) -> dict[str, Estimate]:
        nll = mean_of(self.estimates)._replace(caveat=self.looseness_caveat())
        return {
            "nll": nll,
            "bits_per_dim": nll.divided_by(self.dimensions * math.log(2)),
            "nll_ess": mean_of(self.effective),
        }

    def looseness_caveat(self) -> str:
        """The signs that the bound is loose; empty if there is none."""
        nll, shape, decrease, prior_advantage = (
            dim_zero_cat(of_images) for of_images in (self.estimates, self.shape, self.decrease, self.prior_advantage)
        )
        loose = (shape > MAX_SHAPE) | (prior_advantage > math.log(20 * len(nll)))
        others = nll[~loose].mean()
        are_most = bool(loose.double().mean() > 0.5)  # the others are then easy images, and no estimate for all
        signs = []
        if are_most or (nll.mean() - others).abs() > standard_error(nll):
            misplaced = loose & (prior_advantage > 0)
            parts = {"misplaced": misplaced, "too narrow": loose & ~misplaced}
            shares = " and ".join(f"{name} for {of.double().mean():.1%}" for name, of in parts.items() if of.any())
            rest = "" if are_most else f"; without them the mean would be {others:.4g}"
            signs.append(f"q(z|x) is {shares} of the images (heavy tail of weights{rest})")
        if (gain := prior_advantage.mean()) > self.flat_within:
            signs.append(f"draws from the prior, which ignore the image, are better by {gain:.3g} nats on average")
        if self.samples > 1 and (fall := decrease.clamp(min=0).mean()) > self.flat_within:
            signs.append(f"it still falls by {fall:.2g} nats from half of the draws to all")
        if not signs:
            return ""
        advice = f"use metric.nll.samples={10 * self.samples}, or metric=[nll,ais], which does not depend on q(z|x)"
        bound = "an upper bound that may be loose" if are_most and len(signs) == 1 else "a loose upper bound"
        return f"{bound}: {'; '.join(signs)}; {advice}"

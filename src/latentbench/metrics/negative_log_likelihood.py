"""Negative log-likelihood of test images by importance sampling."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.metrics.base import DrawnMetric, Evidence, Quantity
from latentbench.models.base import GenerativeModel

# Rows (images x samples) decoded at once: few enough for the decoder's output to stay in a processor's cache.
ROWS = 2000


def importance_weighted_log_likelihood(model: GenerativeModel, x: Tensor, samples: int) -> Tensor:
    """Estimate of log p(x) from below, unbiased for p(x) and consistent as S grows.

    log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),  z_s ~ q(z|x)

    Shape: x (B, C, H, W) -> (B,), float64. Units: nats. Batched over images and samples.
    Source: Burda et al. 2016, equation 8.
    """
    q, p = model.posterior_distribution(x), model.prior_distribution()
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    step = max(1, ROWS // len(x))
    for start in range(0, samples, step):
        z = q.sample((min(step, samples - start),))
        log_weights = model.pixel_log_prob(x, z) + p.log_prob(z) - q.log_prob(z)
        total = torch.logaddexp(total, log_weights.double().logsumexp(0))
    return total - math.log(samples)


class NegativeLogLikelihood(DrawnMetric):
    """`nll/test`, nats per image, and `bits_per_dim/test`, nll / (D log 2).

    With a Gaussian likelihood both are of a density of pixel values in units of the range [0, 1], and may be
    negative; with a Bernoulli one, of a probability of binary images. The two cannot be compared.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "nll": Quantity("nats", higher_is_better=False),
        "bits_per_dim": Quantity("bits/dim", higher_is_better=False),
    }
    batch_size = 20

    def refuses(self, evidence: Evidence) -> str | None:
        """Needs densities of latents and of these pixels."""
        return evidence.model.lacks("log_likelihood", binary=evidence.data.is_binary)

    def per_image(self, model: GenerativeModel, images: Tensor) -> Tensor:
        """-log p(x), nats, (B,)."""
        self.dimensions = images[0].numel()
        return -importance_weighted_log_likelihood(model, images, self.samples)

    def compute(self) -> dict[str, Tensor]:
        """Mean over images, in both units."""
        nll = self.total / self.count
        return {"nll": nll, "bits_per_dim": nll / (self.dimensions * math.log(2))}

"""Importance-weighted bound."""

import math
from collections.abc import Callable

from torch import Tensor

from latentbench.annealing.base import Annealing
from latentbench.errors import check_whole_number
from latentbench.objectives.base import Objective
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import KullbackLeibler


class ImportanceWeighted(Objective):
    """loss = -E_x log 1/k sum_s p(x|z_s) [p(z_s) / q(z_s|x)]^beta, nats, with k samples z_s ~ q(z|x).

    With beta = 1, this is an upper bound on -log p(x) that becomes tighter as k grows. For k = 1 it is the negative
    ELBO, without the closed form of the KL divergence. "distortion" and "regularizer" are means over the samples.
    Source: Burda et al. 2016, equation 8.
    """

    def __init__(self, *, samples: int) -> None:
        self.samples = check_whole_number("objective.samples", samples, minimum=1)

    def terms(
        self,
        *,
        log_likelihood: Tensor,
        z: Tensor,
        latents: Latents,
        regularizer: Regularizer,
        weigh: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        divergence = latents.q.log_prob(z) - latents.p.log_prob(z)
        log_weights = log_likelihood - weigh(divergence)
        loss = math.log(self.samples) - log_weights.logsumexp(0).mean()
        return {"loss": loss, "distortion": -log_likelihood.mean(), "regularizer": divergence.mean()}

    def refuses(self, *, regularizer: Regularizer, annealing: Annealing) -> str | None:
        if not isinstance(regularizer, KullbackLeibler) or regularizer.free_bits > 0:
            return (
                "the importance-weighted bound weighs every sample by p(z) / q(z|x) and cannot use "
                f"{type(regularizer).__name__}{' with free bits' * isinstance(regularizer, KullbackLeibler)}: take "
                "regularizer=kl (regularizer.free_bits=0), or objective=elbo"
            )
        if not annealing.is_weight:
            return (
                f"{type(annealing).__name__} controls the mean KL divergence, and the importance-weighted bound has no "
                "such separate term: take annealing=constant, or objective=elbo"
            )
        return None

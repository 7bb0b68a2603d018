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
    """loss = -E_x log 1/k sum_s p(x|z_s) [p(z_s) / q(z_s|x)]^beta, z_s ~ q(z|x), nats.

    With beta = 1 a bound of -log p(x) that falls with k: k = 1 is minus the ELBO, estimated without its closed form.
    distortion and regularizer are means over the draws. Source: Burda et al. 2016, equation 8.
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
        """The loss, and the distortion and the divergence of the draws."""
        divergence = latents.q.log_prob(z) - latents.p.log_prob(z)
        log_weights = log_likelihood - weigh(divergence)
        loss = math.log(self.samples) - log_weights.logsumexp(0).mean()
        return {"loss": loss, "distortion": -log_likelihood.mean(), "regularizer": divergence.mean()}

    def refuses(self, *, regularizer: Regularizer, annealing: Annealing) -> str | None:
        """The bound is of the KL divergence alone."""
        if not isinstance(regularizer, KullbackLeibler) or regularizer.free_bits > 0:
            return (
                "the importance-weighted bound is made of p(z) / q(z|x), draw by draw, and has no place for "
                f"{type(regularizer).__name__}{' with free bits' * isinstance(regularizer, KullbackLeibler)}: take "
                "regularizer=kl (regularizer.free_bits=0), or objective=elbo"
            )
        if not annealing.is_weight:
            return (
                f"{type(annealing).__name__} holds the mean of the KL divergence, which the importance-weighted bound "
                "has not by itself: take annealing=constant, or objective=elbo"
            )
        return None

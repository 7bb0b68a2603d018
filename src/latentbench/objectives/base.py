"""The contract of an objective: the loss, of the likelihoods of draws and of the regularizer."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from latentbench.annealing.base import Annealing
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import KullbackLeibler


class Objective(ABC):
    """terms(...) -> {"loss": ..., "distortion": ..., "regularizer": ...}, scalars in nats, averaged over the batch."""

    samples: int  # draws of q(z|x) per image

    @abstractmethod
    def terms(
        self,
        *,
        log_likelihood: Tensor,
        z: Tensor,
        latents: Latents,
        regularizer: Regularizer,
        weigh: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """The loss and its parts.

        log_likelihood: log p(x|z), nats, (samples, B), of the draws z (samples, B, D); latents: with the first of them;
        weigh: what the annealing and beta make of the regularizer.
        """

    def refuses(self, *, regularizer: Regularizer, annealing: Annealing) -> str | None:
        """Why it cannot work with these two and what would fit; None if it can."""
        if not annealing.is_weight and not isinstance(regularizer, KullbackLeibler):
            return (
                f"{type(annealing).__name__} holds the KL divergence at a number of nats, which "
                f"{type(regularizer).__name__} is not: take regularizer=kl, or annealing=constant"
            )
        return None

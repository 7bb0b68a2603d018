"""The contract of an objective: how the likelihood and the regularizer become a loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from latentbench.annealing.base import Annealing
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import KullbackLeibler


class Objective(ABC):
    """Computes the training loss of a batch.

    To add one, subclass Objective, set `samples` and implement `terms`. The loss must decrease as log p(x|z) increases
    and as the weighted regularizer decreases, and must carry the gradients of both.
    """

    samples: int  # samples of q(z|x) per image, S

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
        """Return "loss", "distortion" and "regularizer": scalars in nats, averaged over the batch.

        log_likelihood: log p(x|z), nats, (S, B).
        z: the samples of q(z|x), (S, B, D), with gradients.
        latents: input of the regularizer; its z is the first of the samples.
        weigh: applies the annealing and beta; takes and returns the regularizer, of any shape.
        """

    def refuses(self, *, regularizer: Regularizer, annealing: Annealing) -> str | None:
        """Say why it cannot be combined with these two, and what to use instead; None if it can."""
        if not annealing.is_weight and not isinstance(regularizer, KullbackLeibler):
            return (
                f"{type(annealing).__name__} keeps the KL divergence at a given number of nats, and "
                f"{type(regularizer).__name__} is not a KL divergence: take regularizer=kl, or annealing=constant"
            )
        return None

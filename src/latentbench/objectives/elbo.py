"""Reconstruction error plus regularizer."""

from collections.abc import Callable

from torch import Tensor

from latentbench.objectives.base import Objective
from latentbench.regularizers.base import Latents, Regularizer


class EvidenceLowerBound(Objective):
    """loss = E_x E_q(z|x)[-log p(x|z)] + beta R, nats, with one sample of q(z|x) per image.

    For R = KL and beta = 1 this is the negative evidence lower bound (ELBO).
    Source: Kingma & Welling 2014, equation 8.
    """

    samples = 1

    def terms(
        self,
        *,
        log_likelihood: Tensor,
        z: Tensor,
        latents: Latents,
        regularizer: Regularizer,
        weigh: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        distortion = -log_likelihood.mean()
        regularization: Tensor = regularizer(latents)
        loss = distortion + weigh(regularization)
        return {"loss": loss, "distortion": distortion, "regularizer": regularization}

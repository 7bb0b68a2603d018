"""Squared norm of the codes, the term that all regularized autoencoders (RAE) share."""

from torch import Tensor

from latentbench.distributions.spaces import CODES, SPHERE
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer


class SquaredNorm(Regularizer):
    """R = E |z|^2 / 2. Source: Ghosh et al. 2020 (RAE), equation 9."""

    trains_prior = None

    def forward(self, latents: Latents) -> Tensor:
        return 0.5 * latents.z.square().sum(1).mean()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        if posterior.space in (SPHERE, CODES):
            return (
                f"latents of {type(posterior).__name__} lie in {posterior.space.description}, where their norm cannot "
                "be regularized: take regularizer=none or mmd, or posterior=dirac"
            )
        return None

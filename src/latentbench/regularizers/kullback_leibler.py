"""KL divergence of the posterior from the prior: the rate of a VAE."""

from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer


class KullbackLeibler(Regularizer):
    """R = E_x KL(q(z|x) || p(z)), in nats.

    Closed form where torch.distributions knows one for the pair, else the unbiased one-sample estimate
    log q(z|x) - log p(z) with z ~ q. Source: Kingma & Welling 2014, equations 7 and 10.
    """

    trains_prior: ClassVar[bool] = True

    def forward(self, latents: Latents) -> Tensor:
        """R, nats."""
        return kl_per_image(latents.q, latents.p, latents.z).mean()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """A point has no density: its KL divergence from any prior is infinite."""
        if not posterior.has_density:
            instead = "" if prior.is_learned else ", or regularizer=mmd, adversarial or none"
            return (
                f"the KL divergence needs a posterior with a density and {type(posterior).__name__} has none: "
                f"take posterior=gaussian{instead}"
            )
        return super().refuses(posterior=posterior, prior=prior)


def kl_per_image(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) for each of q's batch, nats: closed form, or log q(z) - log p(z) for the given z ~ q.

    Shape: z (..., B, D), with any number of draws in front; result (B,) or (..., B).
    """
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether KL(q || p) is known in closed form."""
    try:
        kl_divergence(q, p)
    except NotImplementedError:
        return False
    return True

"""KL divergence between the posterior and the prior: the rate of a VAE."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from latentbench.distributions.factorised import Factorised
from latentbench.distributions.one_hot import OneHot
from latentbench.distributions.spaces import SPHERE
from latentbench.errors import check_number, check_whole_number
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer


class KullbackLeibler(Regularizer):
    """R = E_x KL(q(z|x) || p(z)). With free bits, R = sum_j max(free_bits, E_x KL(q(z_j|x) || p(z_j))).

    Uses the closed form if the pair has one. Otherwise it is an unbiased estimate: the mean of log q(z|x) - log p(z)
    over `samples` samples z of q(z|x) per image. With a single sample, the noise of the estimate worsens the rate and
    the likelihood of a small model, even for a Gaussian posterior and a normal prior without their closed form.
    free_bits: per coordinate, or per group of a categorical code. 0 gives the plain divergence.
    Units: nats.
    Source: Kingma & Welling 2014, equations 7 and 10; free bits: Kingma et al. 2016, equation 15.
    """

    trains_prior = "density"
    needs_density: ClassVar[bool] = True

    def __init__(self, *, latent_size: int, free_bits: float, samples: int) -> None:
        super().__init__(latent_size=latent_size)
        self.samples = check_whole_number("regularizer.samples", samples, minimum=1)
        self.free_bits = check_number("regularizer.free_bits", free_bits, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        q, p = latents.q, latents.p
        if self.free_bits == 0:
            kl = closed_form_kl(q, p)
            if kl is None:
                z = self._samples(latents)
                kl = q.log_prob(z) - p.log_prob(z)
            return kl.mean()
        assert isinstance(q, Factorised | OneHot)
        assert isinstance(p, Factorised | OneHot)
        factor_kl = closed_form_factor_kl(q, p)
        if factor_kl is None:
            z = self._samples(latents)
            factor_kl = q.factor_log_prob(z) - p.factor_log_prob(z)
        return factor_kl.flatten(0, -2).mean(0).clamp(min=self.free_bits).sum()

    def _samples(self, latents: Latents) -> Tensor:
        return latents.z if self.samples == 1 else latents.q.rsample((self.samples,))

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        if self.free_bits > 0 and not (posterior.is_factorised and prior.is_factorised):
            q, p = type(posterior).__name__, type(prior).__name__
            space = prior.space or posterior.space
            # On a sphere, the coordinates are never independent.
            others = "" if space is SPHERE else f"posterior={space.posteriors} and prior={space.priors}, or "
            return (
                f"free bits need independent coordinates, and those of {q} or of {p} depend on each other: "
                f"take {others}regularizer.free_bits=0"
            )
        return None


def kl_per_image(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) of each distribution in q's batch, nats: the closed form, or log q(z) - log p(z) for samples z of q.

    Shape: z (..., B, D), with any leading sample dimensions; result (B,) in closed form, else (..., B).
    """
    kl = closed_form_kl(q, p)
    return q.log_prob(z) - p.log_prob(z) if kl is None else kl


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p), nats, shape (B,); None if torch has no closed form registered for this pair."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def closed_form_factor_kl(q: Factorised | OneHot, p: Factorised | OneHot) -> Tensor | None:
    """KL(q_j || p_j) of each coordinate, (B, D), or of each group of a categorical code, (B, G); None as above."""
    try:
        kl: Tensor = q.factor_kl(p)  # type: ignore[arg-type]
        return kl
    except NotImplementedError:
        return None


@torch.no_grad()
def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether KL(q || p) has a closed form."""
    return closed_form_kl(q, p) is not None

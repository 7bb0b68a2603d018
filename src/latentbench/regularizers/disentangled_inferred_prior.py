"""Disentangled inferred prior (DIP)."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from latentbench.distributions.spaces import BOX, REAL
from latentbench.errors import UserError, check_number
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import kl_per_image


class DisentangledInferredPrior(Regularizer):
    """R = E_x KL(q(z|x) || p(z)) + off_diagonal sum_{i != j} S_ij^2 + diagonal sum_i (S_ii - 1)^2.

    S is a covariance matrix over the batch, (D, D). Variant I: Cov_x of the posterior means. Variant II: the covariance
    of z, which is Cov_x of the posterior means plus E_x of the posterior covariances.
    Units: the KL divergence in nats, the other terms without units.
    Source: Kumar et al. 2018 (DIP-VAE), equations 5-7.
    """

    trains_prior = None  # R pulls the covariance towards the identity, which a learned prior may not have
    needs_density: ClassVar[bool] = True

    def __init__(self, *, latent_size: int, variant: str, off_diagonal: float, diagonal: float) -> None:
        super().__init__(latent_size=latent_size)
        if variant not in VARIANTS:
            raise UserError(f"regularizer.variant={variant}: choose one of {', '.join(VARIANTS)}")
        self.covariance = VARIANTS[variant]
        self.off_diagonal = check_number("regularizer.off_diagonal", off_diagonal, minimum=0)
        self.diagonal = check_number("regularizer.diagonal", diagonal, minimum=0)

    def forward(self, latents: Latents) -> Tensor:
        covariance = self.covariance(latents.q)
        variances = covariance.diagonal()
        off_diagonal = covariance.square().sum() - variances.square().sum()
        kl = kl_per_image(latents.q, latents.p, latents.z).mean()
        return kl + self.off_diagonal * off_diagonal + self.diagonal * (variances - 1).square().sum()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        space = prior.space or posterior.space
        if space not in (REAL, BOX):
            return (
                f"the covariance of the codes cannot be the identity in {space.description}, the space of "
                f"{type(prior).__name__}: take regularizer=kl, or posterior=gaussian and prior=normal"
            )
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        if not posterior.has_moments:
            return (
                f"the mean and covariance of {type(posterior).__name__} have no closed form: take "
                "posterior=gaussian, gaussian_full or laplace"
            )
        return None


def covariance_of_means(q: Distribution) -> Tensor:
    """Cov_x E_q[z], (D, D). All zeros for a batch of one image."""
    centred = q.mean - q.mean.mean(0)
    return centred.T @ centred / len(centred)


def covariance_of_draws(q: Distribution) -> Tensor:
    """Cov_x E_q[z] + E_x Cov_q[z], (D, D)."""
    within = q.covariance_matrix.mean(0) if isinstance(q, MultivariateNormal) else torch.diag(q.variance.mean(0))
    return covariance_of_means(q) + within


VARIANTS: dict[str, Callable[[Distribution], Tensor]] = {"I": covariance_of_means, "II": covariance_of_draws}

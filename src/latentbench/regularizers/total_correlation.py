"""KL divergence in three terms with a weight each, one of them the total correlation (beta-TCVAE)."""

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.distributions.factorised import Factorised
from latentbench.distributions.one_hot import OneHot
from latentbench.distributions.spaces import SPHERE
from latentbench.errors import UserError, check_number
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer


class TotalCorrelation(Regularizer):
    """R = a I(x; z) + b KL(q(z) || prod_j q(z_j)) + c sum_j KL(q(z_j) || p(z_j)), from one sample of q(z|x) per image.

    For a = b = c = 1 this is E_x KL(q(z|x) || p(z)). q(z) is the aggregate posterior, the mean of q(z|x) over the data
    set. It is estimated from the batch by minibatch weighted or stratified sampling.
    Units: nats.
    Source: Chen et al. 2018 (beta-TCVAE), equations 2 and 4; appendix C for the two estimators.
    """

    trains_prior = None
    needs_density: ClassVar[bool] = True

    def __init__(
        self,
        *,
        latent_size: int,
        mutual_information: float,
        total_correlation: float,
        dimension_wise_kl: float,
        estimator: str,
    ) -> None:
        super().__init__(latent_size=latent_size)
        if estimator not in ESTIMATORS:
            raise UserError(f"regularizer.estimator={estimator}: choose one of {', '.join(ESTIMATORS)}")
        self.weights = (
            check_number("regularizer.mutual_information", mutual_information),
            check_number("regularizer.total_correlation", total_correlation),
            check_number("regularizer.dimension_wise_kl", dimension_wise_kl),
        )
        log_importance = ESTIMATORS[estimator]
        # Kept, because a CUDA graph cannot copy them to the device in every step.
        self.log_importance_on = functools.cache(lambda device, *sizes: log_importance(*sizes).to(device))

    def forward(self, latents: Latents) -> Tensor:
        terms = self.decomposition(latents)
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()

    def decomposition(self, latents: Latents) -> tuple[Tensor, Tensor, Tensor]:
        """Mutual information, total correlation and dimension-wise KL divergence: scalars in nats."""
        q, z = latents.q, latents.z
        assert isinstance(q, Factorised | OneHot)
        log_weights = self.log_importance_on(z.device, len(z), latents.dataset_size).to(z.dtype)
        log_probs = q.factor_log_prob(z[:, None])  # [i, j, f] = log q(factor f of z_i | x_j)
        conditional = log_probs.diagonal().sum(0)  # log q(z_i|x_i)
        joint = (log_weights + log_probs.sum(-1)).logsumexp(1)  # log q(z_i)
        product = (log_weights[..., None] + log_probs).logsumexp(1).sum(-1)  # sum_f log q(factor f of z_i)
        return (conditional - joint).mean(), (joint - product).mean(), (product - latents.p.log_prob(z)).mean()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        space = prior.space or posterior.space
        for part, others in ((prior, f"prior={space.priors}"), (posterior, f"posterior={space.posteriors}")):
            if not part.is_factorised:
                # On a sphere, the coordinates are never independent.
                others = "" if space is SPHERE else f"{others}, or "
                return (
                    f"the total correlation needs densities of single coordinates and {type(part).__name__} has none: "
                    f"take {others}regularizer=kl"
                )
        return None


def weighted(batch: int, dataset_size: int) -> Tensor:
    """Log weights of minibatch weighted sampling: weight 1 / (N B) of every image j for every sample z_i, (B, B).

    All log densities of q(z) are biased by about log N, and their differences keep part of this bias. To report values,
    take the stratified weights.
    Source: Chen et al. 2018, equation 5.
    """
    return torch.full((batch, batch), -math.log(batch * dataset_size))


def stratified(batch: int, dataset_size: int) -> Tensor:
    """Log weights of minibatch stratified sampling, of image j for sample z_i, (B, B). Every row of weights sums to 1.

    The image that z_i was drawn for has weight 1/N. The M = B - 1 other images represent the rest of the data set: one
    of them has weight (N - M) / (N M), the others have 1/M each.
    Source: Chen et al. 2018, appendix C.2, equation S6. The code published with the paper has only its first two rows
    right.
    """
    others = batch - 1
    if others == 0:
        return torch.zeros(1, 1)
    size = max(dataset_size, batch)
    weights = torch.full((batch, batch), 1 / others, dtype=torch.float64)
    image = torch.arange(batch)
    weights[image, image] = 1 / size
    weights[image, (image + 1) % batch] = (size - others) / (size * others)
    return weights.log()


ESTIMATORS: dict[str, Callable[[int, int], Tensor]] = {"weighted": weighted, "stratified": stratified}

"""Total correlation of the aggregate posterior, weighed apart from the rest of the KL divergence."""

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
    """R = a I(x; z) + b KL(q(z) || prod_j q(z_j)) + c sum_j KL(q(z_j) || p(z_j)), nats, each from one draw per image.

    With a = b = c = 1 it is E_x KL(q(z|x) || p(z)). q(z) is the posterior averaged over the data set, estimated from
    the batch by minibatch weighted or stratified sampling. Source: Chen et al. 2018 (beta-TCVAE), equations 2 and 4,
    and their appendix C for the two estimators.
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
        self.log_importance = ESTIMATORS[estimator]

    def forward(self, latents: Latents) -> Tensor:
        """R, nats."""
        terms = self.decomposition(latents)
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()

    def decomposition(self, latents: Latents) -> tuple[Tensor, Tensor, Tensor]:
        """Mutual information, total correlation and dimension-wise KL divergence, nats, scalars."""
        q, z = latents.q, latents.z
        assert isinstance(q, Factorised | OneHot)
        log_weights = self.log_importance(len(z), latents.dataset_size).to(z)
        of_every_image = q.factor_log_prob(z[:, None])  # [i, j, f] = log q(z_i in factor f | x_j)
        own = of_every_image.diagonal().sum(0)  # log q(z_i|x_i)
        joint = (log_weights + of_every_image.sum(-1)).logsumexp(1)  # log q(z_i)
        product = (log_weights[..., None] + of_every_image).logsumexp(1).sum(-1)  # sum_f log q(z_i in factor f)
        return (own - joint).mean(), (joint - product).mean(), (product - latents.p.log_prob(z)).mean()

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """Densities of single coordinates are needed on both sides."""
        if reason := super().refuses(posterior=posterior, prior=prior):
            return reason
        there = prior.space or posterior.space
        for part, others in ((prior, f"prior={there.priors}"), (posterior, f"posterior={there.posteriors}")):
            if not part.is_factorised:
                # On a sphere no coordinate is independent of the others.
                others = "" if there is SPHERE else f"{others}, or "
                return (
                    f"the total correlation is made of densities of single coordinates and {type(part).__name__} has "
                    f"none: take {others}regularizer=kl"
                )
        return None


def weighted(batch: int, dataset_size: int) -> Tensor:
    """Logarithms of minibatch weights 1 / (N B) of every image j for every draw i, (B, B).

    Source: Chen et al. 2018, equation 5. All log-densities of q(z) are off by about log N, which their differences
    partly keep: for values to quote take the stratified weights.
    """
    return torch.full((batch, batch), -math.log(batch * dataset_size))


def stratified(batch: int, dataset_size: int) -> Tensor:
    """Logarithms of minibatch weights of image j for draw i, (B, B): every row sums to 1.

    The image that z_i was drawn for stands for itself, 1/N; the others stand for the rest of the data set: with
    M = B - 1, one has (N - M) / (N M) and M - 1 have 1/M each. Source: Chen et al. 2018, appendix C.2, equation S6,
    whose rows the code published with it misses but for the first two.
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

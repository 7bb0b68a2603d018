"""KL divergence plus a total correlation that is estimated by a critic (FactorVAE)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from latentbench.distributions.spaces import CODES, SPHERE
from latentbench.errors import check_number
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.critic import Critic
from latentbench.regularizers.kullback_leibler import kl_per_image


class Factor(Regularizer):
    """R = E_x KL(q(z|x) || p(z)) + gamma E_q[T(z)], where T is a critic's log-odds that z comes from q(z).

    The optimal critic is T = log q(z) / prod_j q(z_j), whose mean under q(z) is the total correlation.
    critic_loss = (E_q[-log sigmoid(T(z))] + E[-log(1 - sigmoid(T(z')))]) / 2, where z' are the codes of the batch with
    each coordinate permuted independently.
    Units: nats.
    Source: Kim & Mnih 2018 (FactorVAE), equation 3 and algorithms 1-2. The paper permutes a second batch.
    """

    trains_prior = "density"
    needs_density: ClassVar[bool] = True

    def __init__(self, *, latent_size: int, gamma: float, hidden: Sequence[int]) -> None:
        super().__init__(latent_size=latent_size)
        self.gamma = check_number("regularizer.gamma", gamma, minimum=0)
        self.critic = Critic(latent_size=latent_size, hidden=hidden, slope=0.2)

    def forward(self, latents: Latents) -> Tensor:
        kl = kl_per_image(latents.q, latents.p, latents.z).mean()
        return kl + self.gamma * self.critic.frozen(latents.z).mean()

    def critic_loss(self, latents: Latents) -> Tensor:
        codes = latents.z.detach()
        order = torch.rand(codes.shape, device=codes.device).argsort(0)
        permuted = codes.gather(0, order)
        return 0.5 * (softplus(-self.critic(codes)).mean() + softplus(self.critic(permuted)).mean())

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        space = prior.space or posterior.space
        if space in (SPHERE, CODES):
            return (
                f"codes with permuted coordinates are outside of {space.description}, the space of "
                f"{type(prior).__name__}, and the critic would learn only this: take regularizer=kl, or "
                "posterior=gaussian and prior=normal"
            )
        return super().refuses(posterior=posterior, prior=prior)

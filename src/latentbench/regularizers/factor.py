"""Total correlation by a critic."""

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
    """R = E_x KL(q(z|x) || p(z)) + gamma E_q[T(z)], T the log-odds of a critic that z is a draw of q(z).

    At its best, T is log q(z) / prod_j q(z_j), whose mean is the total correlation, in nats.
    critic_loss = (E_q[-log sigmoid(T(z))] + E[-log(1 - sigmoid(T(z')))]) / 2, z' the codes of the batch with every
    coordinate permuted by itself. Source: Kim & Mnih 2018 (FactorVAE), equation 3 and algorithms 1-2, where a second
    batch is permuted.
    """

    trains_prior = "density"
    needs_density: ClassVar[bool] = True

    def __init__(self, *, latent_size: int, gamma: float, hidden: Sequence[int]) -> None:
        super().__init__(latent_size=latent_size)
        self.gamma = check_number("regularizer.gamma", gamma, minimum=0)
        self.critic = Critic(latent_size=latent_size, hidden=hidden, slope=0.2)

    def forward(self, latents: Latents) -> Tensor:
        """R, nats; the critic stands still."""
        kl = kl_per_image(latents.q, latents.p, latents.z).mean()
        return kl + self.gamma * self.critic.frozen(latents.z).mean()

    def critic_loss(self, latents: Latents) -> Tensor:
        """The critic's loss, nats; the encoder stands still."""
        codes = latents.z.detach()
        order = torch.rand(codes.shape, device=codes.device).argsort(0)
        permuted = codes.gather(0, order)
        return 0.5 * (softplus(-self.critic(codes)).mean() + softplus(self.critic(permuted)).mean())

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """Coordinates must be free to vary by themselves."""
        there = prior.space or posterior.space
        if there in (SPHERE, CODES):
            return (
                f"permuted coordinates leave {there.words}, where {type(prior).__name__} is, so that the critic would "
                "learn that alone: take regularizer=kl, or posterior=gaussian and prior=normal"
            )
        return super().refuses(posterior=posterior, prior=prior)

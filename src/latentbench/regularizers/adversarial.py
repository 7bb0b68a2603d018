"""Adversarial regularizer."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import softplus

from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.critic import Critic


class Adversarial(Regularizer):
    """R = E_q[-log sigmoid(T(z))], where the critic T is trained to tell samples of p(z) from codes.

    critic_loss = E_p[-log sigmoid(T(z))] + E_q[-log(1 - sigmoid(T(z)))].
    Units: nats. If the critic cannot tell codes from samples of p, R is log 2 and critic_loss is 2 log 2.
    Source: Makhzani et al. 2016 (AAE), section 2. The non-saturating encoder loss is that of Tolstikhin et al. 2018
    (WAE-GAN), algorithm 1.
    """

    trains_prior = None

    def __init__(self, *, latent_size: int, hidden: Sequence[int]) -> None:
        super().__init__(latent_size=latent_size)
        self.critic = Critic(latent_size=latent_size, hidden=hidden, slope=0.0)

    def forward(self, latents: Latents) -> Tensor:
        return softplus(-self.critic.frozen(latents.z)).mean()

    def critic_loss(self, latents: Latents) -> Tensor:
        codes = latents.z.detach()
        draws = latents.prior_samples().detach()
        return softplus(-self.critic(draws)).mean() + softplus(self.critic(codes)).mean()

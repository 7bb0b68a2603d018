"""Adversarial regularizer."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import softplus

from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.critic import Critic


class Adversarial(Regularizer):
    """A critic T tells draws of p(z) from codes; R = E[-log sigmoid(T(z))] asks the encoder to fool it.

    critic_loss = E_p[-log sigmoid(T(z))] + E_q[-log(1 - sigmoid(T(z)))]. Both in nats; where the critic cannot tell
    them apart R is log 2 and critic_loss 2 log 2.
    Source: Makhzani et al. 2016 (AAE), section 2; the non-saturating encoder loss is Tolstikhin et al. 2018 (WAE-GAN),
    algorithm 1.
    """

    trains_prior = None

    def __init__(self, *, latent_size: int, hidden: Sequence[int]) -> None:
        super().__init__(latent_size=latent_size)
        self.critic = Critic(latent_size=latent_size, hidden=hidden, slope=0.0)

    def forward(self, latents: Latents) -> Tensor:
        """R, nats; the critic stands still."""
        return softplus(-self.critic.frozen(latents.z)).mean()

    def critic_loss(self, latents: Latents) -> Tensor:
        """The critic's loss, nats; the encoder stands still."""
        codes = latents.z.detach()
        draws = latents.p.sample(codes.shape[:1])
        return softplus(-self.critic(draws)).mean() + softplus(self.critic(codes)).mean()

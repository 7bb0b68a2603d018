"""Adversarial regularizer."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from latentbench.errors import UserError
from latentbench.regularizers.base import Latents, Regularizer


class Adversarial(Regularizer):
    """A critic T tells draws of p(z) from codes; R = E[-log sigmoid(T(z))] asks the encoder to fool it.

    critic_loss = E_p[-log sigmoid(T(z))] + E_q[-log(1 - sigmoid(T(z)))]. Both in nats; where the critic cannot tell
    them apart R is log 2 and critic_loss 2 log 2.
    Source: Makhzani et al. 2016 (AAE), section 2; the non-saturating encoder loss is Tolstikhin et al. 2018,
    algorithm 1.
    """

    trains_prior = False

    def __init__(self, *, latent_size: int, hidden: Sequence[int]) -> None:
        super().__init__(latent_size=latent_size)
        if not hidden or min(hidden) < 1:
            raise UserError(f"regularizer.hidden={list(hidden)}: give one or more widths of 1 or more")
        widths = [latent_size, *hidden]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.critic = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, latents: Latents) -> Tensor:
        """R, nats; the critic stands still."""
        frozen = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        verdict: Tensor = functional_call(self.critic, frozen, latents.z)
        return softplus(-verdict).mean()

    def critic_loss(self, latents: Latents) -> Tensor:
        """The critic's loss, nats; the encoder stands still."""
        codes = latents.z.detach()
        draws = latents.p.sample(codes.shape[:1])
        return softplus(-self.critic(draws)).mean() + softplus(self.critic(codes)).mean()

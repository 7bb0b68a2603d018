"""The contract of a regularizer: a scalar that is lower the closer the codes are to what it wants."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latents:
    """What a regularizer may look at in one batch."""

    x: Tensor  # images (B, C, H, W)
    z: Tensor  # one draw of q per image (B, D), with gradients
    q: Distribution  # posterior, batch shape (B,), event shape (D,)
    p: Distribution  # prior, event shape (D,)
    decode: Callable[[Tensor], Tensor]  # latents to raw decoder output


class Regularizer(nn.Module, ABC):
    """forward(latents) -> R, a scalar averaged over the batch; the loss is E[-log p(x|z)] + beta * R.

    All of its parameters belong to its critic: they are trained on `critic_loss` and on nothing else.
    """

    trains_prior: ClassVar[bool]  # whether gradients of R reach a learned prior

    def __init__(self, *, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    @abstractmethod
    def forward(self, latents: Latents) -> Tensor:
        """R. Its gradients reach encoder and prior, never the critic."""

    def critic_loss(self, latents: Latents) -> Tensor | None:
        """The critic's own loss, without gradients to the encoder; None where there is no critic."""
        return None

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """Why it cannot work with these two and what would fit; None if it can."""
        if prior.is_learned and not self.trains_prior:
            instead = ", or regularizer=kl" if posterior.has_density else ""
            return (
                f"no gradient of this regularizer ({type(self).__name__}) reaches the parameters of the learned "
                f"prior {type(prior).__name__}: take prior=normal or prior=laplace{instead}"
            )
        return None

"""The contract of a regularizer: a scalar that is lower the closer the codes are to what it wants."""

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.draws import draws, spread
from latentbench.distributions.spaces import CODES, REAL
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latents:
    """What a regularizer may look at in one batch."""

    x: Tensor  # images (B, C, H, W)
    z: Tensor  # one draw of q per image (B, D), with gradients
    q: Distribution  # posterior, batch shape (B,), event shape (D,)
    p: Distribution  # prior, event shape (D,)
    decoder: nn.Module  # latents (B, D) to raw output (B, C, H, W)
    dataset_size: int  # training images

    def draws(self) -> Tensor:
        """As many draws of p as there are codes, (B, D), with gradients to a prior that has rsample."""
        return draws(self.p, len(self.z))

    def spread(self) -> float:
        """Expected squared distance of two draws of p: 2 tr Cov[p], which is 2 D for N(0, I)."""
        return spread(self.p)


class Regularizer(nn.Module, ABC):
    """forward(latents) -> R, a scalar averaged over the batch; the loss is E[-log p(x|z)] + beta * R.

    All of its parameters belong to its critic: they are trained on `critic_loss` and on nothing else.
    """

    # How gradients of R reach a learned prior: through its density, through its draws, or not at all.
    trains_prior: ClassVar[Literal["density", "draws"] | None]
    needs_density: ClassVar[bool] = False  # whether R has log q(z|x) - log p(z) in it

    def __init__(self, *, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size  # D, numbers in a latent

    @abstractmethod
    def forward(self, latents: Latents) -> Tensor:
        """R. Its gradients reach encoder and prior (and decoder, where it penalises that), never the critic."""

    def critic_loss(self, latents: Latents) -> Tensor | None:
        """The critic's own loss, without gradients to the encoder; None where there is no critic."""
        return None

    def constrain(self, decoder: nn.Module) -> None:
        """Impose on the decoder what no penalty expresses, once, before training."""

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """Why it cannot work with these two and what would fit; None if it can."""
        q, p, r = (type(part).__name__ for part in (posterior, prior, self))
        there = prior.space or posterior.space
        if posterior.space not in (REAL, there):
            return (
                f"latents of {q} are in {posterior.space.words} and {p} draws from {there.words}: "
                f"take prior={posterior.space.priors}, or posterior={there.posteriors}"
            )
        if posterior.space is CODES and prior.classes not in (posterior.classes, 0):
            return (
                f"{q} has {posterior.classes} classes and {p} has {prior.classes}: set prior.classes alone "
                f"(prior=categorical prior.classes={posterior.classes}), which the posterior follows"
            )
        reached = self.trains_prior == "density" or (self.trains_prior == "draws" and prior.has_rsample)
        if prior.is_learned and not reached:
            instead = ", or regularizer=kl" if posterior.has_density else ""
            return f"no gradient of {r} reaches what the learned prior {p} learns: take prior={there.priors}{instead}"
        others = ", or regularizer=mmd, adversarial or none" if self.needs_density and not prior.is_learned else ""
        if (self.needs_density or prior.needs_posterior_density) and not posterior.has_density:
            who = r if self.needs_density else p
            return f"{who} needs a posterior with a density and {q} has none: take posterior={there.posteriors}{others}"
        if self.needs_density and posterior.space is not there:
            return (
                f"{q} gives probability to latents outside of {there.words}, where {p} has none, and {r} has the KL "
                f"divergence in it, which is infinite then: take posterior={there.posteriors}, or "
                f"prior={posterior.space.priors}{others}"
            )
        return None

"""The contract of a regularizer: a scalar penalty, lower for codes closer to the desired distribution."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.distributions.sampling import expected_squared_distance, sample_with_gradients
from latentbench.distributions.spaces import CODES, REAL
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latents:
    """The input of a regularizer: the images of a batch, their codes, and the distributions involved."""

    x: Tensor  # images (B, C, H, W)
    z: Tensor  # one sample of q(z|x) per image (B, D), the codes, with gradients
    q: Distribution  # posterior q(z|x), batch shape (B,), event shape (D,)
    p: Distribution  # prior p(z), event shape (D,)
    decoder: nn.Module  # latents (B, D) to raw outputs (B, C, H, W)
    decode: Callable[[Tensor], Tensor]  # latents (B, D) to the mean images of p(x|z) (B, C, H, W)
    dataset_size: int  # number of training images

    def prior_samples(self) -> Tensor:
        """B new samples of p(z), (B, D), with gradients to its parameters if p has rsample."""
        return sample_with_gradients(self.p, len(self.z))

    def prior_squared_distance(self) -> Tensor | float:
        """Expected squared distance between two samples of p(z): 2 tr Cov[p], which is 2 D for N(0, I)."""
        return expected_squared_distance(self.p)


class Regularizer(nn.Module, ABC):
    """Computes the penalty R of a batch. The loss is E[-log p(x|z)] + beta * R.

    To add one, subclass Regularizer, set `trains_prior`, set `needs_density` if R contains the KL divergence, implement
    `forward`, and extend `refuses` if R does not work for all other combinations. Requirements:
    - R is a scalar averaged over the batch, and lower is better;
    - its gradients reach the encoder, and also the prior if `trains_prior` says so;
    - all parameters of the module belong to a critic. They have an optimizer of their own, which minimizes
      `critic_loss` and nothing else. `forward` must not give them gradients, and `critic_loss` must give none to the
      encoder or the prior.

    latent_size: length D of a latent vector (Prior.coordinates).
    """

    # How gradients of R reach a learned prior: through p.log_prob ("density"), through p.rsample ("draws"), or not.
    trains_prior: ClassVar[Literal["density", "draws"] | None]
    needs_density: ClassVar[bool] = False  # True if R contains log q(z|x) - log p(z)

    def __init__(self, *, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    @abstractmethod
    def forward(self, latents: Latents) -> Tensor:
        """Return R, a scalar. Its gradients may also reach the decoder, if R penalizes the decoder."""

    def critic_loss(self, latents: Latents) -> Tensor | None:
        """Return the loss of the critic, a scalar averaged over the batch; None if there is no critic."""
        return None

    def constrain(self, decoder: nn.Module) -> None:
        """Change the decoder once before training, for constraints that are not a penalty."""

    def refuses(self, *, posterior: Posterior, prior: Prior) -> str | None:
        """Say why it cannot be combined with these two, and what to take instead; None if it can.

        The checks here are common to all regularizers. Subclasses call them first.
        """
        q, p, r = (type(part).__name__ for part in (posterior, prior, self))
        space = prior.space or posterior.space
        if posterior.space not in (REAL, space):
            return (
                f"latents of {q} lie in {posterior.space.description} and those of {p} in {space.description}: "
                f"take prior={posterior.space.priors}, or posterior={space.posteriors}"
            )
        if posterior.space is CODES and prior.classes not in (posterior.classes, 0):
            return (
                f"{q} has {posterior.classes} classes and {p} has {prior.classes}: set prior.classes alone "
                f"(prior=categorical prior.classes={posterior.classes}); the posterior then uses the same number"
            )
        has_gradient = self.trains_prior == "density" or (self.trains_prior == "draws" and prior.has_rsample)
        if prior.is_learned and not has_gradient:
            instead = ", or regularizer=kl" if posterior.has_density else ""
            return f"{r} does not train the parameters of the learned prior {p}: take prior={space.priors}{instead}"
        others = ", or regularizer=mmd, adversarial or none" if self.needs_density and not prior.is_learned else ""
        if (self.needs_density or prior.needs_posterior_density) and not posterior.has_density:
            who = r if self.needs_density else p
            return f"{who} needs a posterior with a density and {q} has none: take posterior={space.posteriors}{others}"
        if self.needs_density and posterior.space is not space:
            return (
                f"{r} contains the KL divergence, which is infinite here, since {q} gives probability to latents "
                f"outside of {space.description}, where {p} has none: take posterior={space.posteriors}, or "
                f"prior={posterior.space.priors}{others}"
            )
        return None

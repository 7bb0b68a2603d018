"""Generative adversarial networks."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from latentbench.backbones.base import Backbone
from latentbench.distributions.sampling import sample_with_gradients
from latentbench.distributions.spaces import Space
from latentbench.errors import Refused, check_number, check_whole_number
from latentbench.models.base import Ability, GenerativeModel
from latentbench.priors.base import Prior


class GAN(GenerativeModel):
    """A generator sigmoid(decode(z)), z ~ p(z), against a discriminator T(x) = linear(encode(x)).

    discriminator: E_x[-log sigmoid(T(x))] + E_z[-log(1 - sigmoid(T(G(z))))]
    generator:     E_z[-log sigmoid(T(G(z)))]                                   (non-saturating; nats)
    What a prior learns, the generator's loss teaches it through its draws.
    Source: Goodfellow et al. 2014, equation 1 and section 3. Raises: Refused for a learned prior without rsample.
    """

    models_pixels = False

    def __init__(self, *, backbone: Backbone, prior: Prior, learning_rate: float, beta1: float) -> None:
        super().__init__(learning_rate=learning_rate)
        prior(None)  # refuses by itself where it needs an encoder
        if prior.is_learned and not prior.has_rsample:
            raise Refused(
                f"a GAN trains a prior through its draws alone, and those of {type(prior).__name__} carry no gradient "
                "to what it learns: take prior=normal, laplace, logistic, student_t, uniform, hypersphere, "
                "categorical or flow"
            )
        self.backbone = backbone
        self.prior = prior
        self.verdict = nn.Linear(backbone.features, 1)
        self.learning_rate = learning_rate
        self.betas = (check_number("model.beta1", beta1, minimum=0, below=1), 0.999)

    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""
        p: Distribution = self.prior(None)
        return p

    @property
    def space(self) -> Space:
        """Where p has its latents."""
        assert self.prior.space is not None  # that would be an encoder's
        return self.prior.space

    def images(self, z: Tensor) -> Tensor:
        """The generator's images (B, C, H, W)."""
        return self.backbone.decode(z).sigmoid()

    def generate(self, n: int) -> Tensor:
        """Images (n, C, H, W) of n draws of the prior."""
        return self.images(sample_with_gradients(self.prior_distribution(), n))

    def discriminate(self, x: Tensor) -> Tensor:
        """T(x), the logit that an image is real, (B, 1); of single precision at least, as the losses are."""
        logit: Tensor = self.verdict(self.backbone.encode(x))
        return logit.to(torch.promote_types(logit.dtype, torch.float32))

    def discriminator_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """The discriminator's loss of images (B, C, H, W) of either kind, scalar."""
        return softplus(-self.discriminate(real)).mean() + softplus(self.discriminate(made)).mean()

    def generator_loss(self, made: Tensor) -> Tensor:
        """The generator's loss of its images (B, C, H, W), scalar."""
        return softplus(-self.discriminate(made)).mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One step of the discriminator and one of the generator, on the same draws of the prior."""
        generator, discriminator = self._players()
        made = self.generate(len(batch))
        discriminator_loss = self.discriminator_loss(batch, made.detach())
        self._step(discriminator, discriminator_loss)
        generator_loss = self.generator_loss(made)
        self._step(generator, generator_loss)
        terms = {"generator_loss": generator_loss, "discriminator_loss": discriminator_loss}
        self.note("train", terms, len(batch))

    def _players(self) -> list[Any]:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        super()._step(optimizer, loss)
        # Autocast keeps its copies of weights to the end of a batch: the other player would meet the old ones.
        torch.clear_autocast_cache()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator and Adam for the discriminator."""
        discriminator = [*self.backbone.encoder.parameters(), *self.verdict.parameters()]
        players = [[*self.backbone.decoder.parameters(), *self.prior.parameters()], discriminator]
        settings: dict[str, Any] = {"lr": self.learning_rate, "betas": self.betas, "fused": True}
        return [torch.optim.Adam(parameters, **settings) for parameters in players]

    def cannot(self, ability: Ability, *, binary: bool) -> str | None:
        """A GAN only samples."""
        return (
            "a GAN has no encoder"
            if ability in ("encode", "interpolate", "units")
            else "a GAN defines no density of images"
        )

    def facts(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class CriticGAN(GAN, ABC):
    """A GAN whose critic T, a discriminator of bounded slope, takes `critic_steps` steps for one of the generator's.

    generator: -E_z[T(G(z))]
    Source: Gulrajani et al. 2017, algorithm 1. There the generator's step follows `critic_steps` of the critic; here
    it comes with the first of them, so that the shortest training has one, and each step of the critic's takes a new
    batch of images, so that an epoch costs what any other method's does. Raises: UserError for no step of the critic.
    """

    def __init__(
        self, *, backbone: Backbone, prior: Prior, learning_rate: float, beta1: float, beta2: float, critic_steps: int
    ) -> None:
        super().__init__(backbone=backbone, prior=prior, learning_rate=learning_rate, beta1=beta1)
        check_whole_number("model.critic_steps", critic_steps, minimum=1)
        self.betas = (self.betas[0], check_number("model.beta2", beta2, minimum=0, below=1))
        self.critic_steps = critic_steps
        # A bias would add alike to T(x) and T(G(z)): while no margin is kept, as ever without one, the loss does not
        # see it and Adam walks it about on rounding errors.
        self.verdict = nn.Linear(backbone.features, 1, bias=False)

    @abstractmethod
    def discriminator_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """The critic's loss of images (B, C, H, W) of either kind, scalar."""

    def generator_loss(self, made: Tensor) -> Tensor:
        """The generator's loss of its images (B, C, H, W), scalar."""
        return -self.discriminate(made).mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One step of the critic and, every `critic_steps` batches, one of the generator on draws of its own."""
        generator, critic = self._players()
        terms = {"discriminator_loss": self.discriminator_loss(batch, self.generate(len(batch)).detach())}
        self._step(critic, terms["discriminator_loss"])
        batches = self.current_epoch * self.trainer.num_training_batches + batch_idx  # since training began
        if batches % self.critic_steps == 0:
            terms["generator_loss"] = self.generator_loss(self.generate(len(batch)))
            self._step(generator, terms["generator_loss"])
        self.note("train", terms, len(batch))

"""Generative adversarial network."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from latentbench.backbones.base import Backbone
from latentbench.errors import Refused
from latentbench.models.base import Ability, GenerativeModel
from latentbench.priors.base import Prior


class GAN(GenerativeModel):
    """A generator sigmoid(decode(z)), z ~ p(z), against a discriminator T(x) = linear(encode(x)).

    discriminator: E_x[-log sigmoid(T(x))] + E_z[-log(1 - sigmoid(T(G(z))))]
    generator:     E_z[-log sigmoid(T(G(z)))]                                   (non-saturating; nats)
    Source: Goodfellow et al. 2014, equation 1 and section 3. Raises: Refused for a learned prior.
    """

    models_pixels = False

    def __init__(self, *, backbone: Backbone, prior: Prior, learning_rate: float, beta1: float) -> None:
        super().__init__(learning_rate=learning_rate)
        prior(None)  # refuses by itself where it needs an encoder
        if prior.is_learned:
            raise Refused(
                f"a GAN does not train its prior and {type(prior).__name__} has parameters to learn: "
                "take prior=normal or prior=laplace"
            )
        self.backbone = backbone
        self.prior = prior
        self.verdict = nn.Linear(backbone.features, 1)
        self.learning_rate = learning_rate
        self.beta1 = float(beta1)  # Adam takes no whole numbers

    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""
        p: Distribution = self.prior(None)
        return p

    def images(self, z: Tensor) -> Tensor:
        """The generator's images (B, C, H, W)."""
        return self.backbone.decode(z).sigmoid()

    def discriminate(self, x: Tensor) -> Tensor:
        """Logit that an image is real, (B, 1)."""
        logit: Tensor = self.verdict(self.backbone.encode(x))
        return logit

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One step of the discriminator and one of the generator."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        generator, discriminator = optimizers

        made = self.images(self.prior_distribution().sample(batch.shape[:1]))
        real_loss = softplus(-self.discriminate(batch)).mean()
        fake_loss = softplus(self.discriminate(made.detach())).mean()
        self._step(discriminator, real_loss + fake_loss)
        generator_loss = softplus(-self.discriminate(made)).mean()
        self._step(generator, generator_loss)

        terms = {"generator_loss": generator_loss, "discriminator_loss": real_loss + fake_loss}
        self.note("train", terms, len(batch))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator and Adam for the discriminator."""
        discriminator = [*self.backbone.encoder.parameters(), *self.verdict.parameters()]
        players = [list(self.backbone.decoder.parameters()), discriminator]
        settings: dict[str, Any] = {"lr": self.learning_rate, "betas": (self.beta1, 0.999), "fused": True}
        return [torch.optim.Adam(parameters, **settings) for parameters in players]

    def lacks(self, ability: Ability, *, binary: bool) -> str | None:
        """A GAN only samples."""
        return "a GAN has no encoder" if ability == "encode" else "a GAN defines no density of images"

    def facts(self) -> dict[str, Any]:
        """Nothing."""
        return {}

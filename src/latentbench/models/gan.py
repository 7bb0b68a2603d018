"""Generative adversarial networks."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from latentbench.backbones.base import Backbone, batch_normalizations
from latentbench.data.base import ImageData
from latentbench.distributions.sampling import sample_with_gradients
from latentbench.distributions.spaces import Space
from latentbench.errors import Refused, check_number, check_whole_number
from latentbench.models.base import Ability, GenerativeModel
from latentbench.models.recipe import BETAS, PlayerWeights
from latentbench.priors.base import Prior


class GAN(GenerativeModel):
    """A generator sigmoid(decode(z)), z ~ p(z), against a discriminator T(x) = linear(encode(x)).

    discriminator: E_x[-log sigmoid(T(x))] + E_z[-log(1 - sigmoid(T(G(z))))]
    generator:     E_z[-log sigmoid(T(G(z)))]                                   (non-saturating; nats)
    A learned prior is trained by the generator's loss, through its draws.
    Raises: Refused for a learned prior without rsample. Source: Goodfellow et al. 2014, equation 1 and section 3.
    """

    players = ("generator", "discriminator")

    def __init__(self, *, backbone: Backbone, prior: Prior, learning_rate: float, beta1: float) -> None:
        super().__init__(learning_rate=learning_rate)
        prior(None)  # raises Refused if the prior needs an encoder
        if prior.is_learned and not prior.has_rsample:
            raise Refused(
                f"a GAN trains a prior only through its draws, and draws of {type(prior).__name__} carry no gradient "
                "to its parameters: take prior=normal, laplace, logistic, student_t, uniform, hypersphere, "
                "categorical or flow"
            )
        self.backbone = backbone
        self.prior = prior
        self.verdict = nn.Linear(backbone.features, 1)  # the last layer of the discriminator
        self.learning_rate = learning_rate
        self.betas = (check_number("model.beta1", beta1, minimum=0, below=1), BETAS[1])

    def refuses(self, data: ImageData) -> str | None:
        """Also draws of binary pixels: it would learn black and white images, and is compared with grey ones."""
        if data.binarize != "dynamic":
            return super().refuses(data)
        return (
            "a GAN learns the images that it sees, here draws of black and white pixels, and metrics compare its "
            "images with the grey ones: take data.binarize=none (or threshold)"
        )

    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""
        p: Distribution = self.prior(None)
        return p

    @property
    def space(self) -> Space:
        assert self.prior.space is not None  # only a prior that needs an encoder has none
        return self.prior.space

    def decode(self, z: Tensor) -> Tensor:
        """The images (B, C, H, W) of the generator."""
        return self.backbone.decode(z).sigmoid()

    def generate(self, n: int) -> Tensor:
        """Images (n, C, H, W) from n draws of the prior."""
        return self.decode(sample_with_gradients(self.prior_distribution(), n))

    def discriminate(self, x: Tensor) -> Tensor:
        """T(x), the logit that an image is real, (B, 1), in float32 at least, like the losses."""
        logit: Tensor = self.verdict(self.backbone.encode(x))
        return logit.to(torch.promote_types(logit.dtype, torch.float32))

    def discriminator_loss(self, real: Tensor, generated: Tensor) -> Tensor:
        """The discriminator's loss for real and generated images, (B, C, H, W) each, scalar."""
        return softplus(-self.discriminate(real)).mean() + softplus(self.discriminate(generated)).mean()

    def generator_loss(self, generated: Tensor) -> Tensor:
        """The generator's loss for its images (B, C, H, W), scalar."""
        return softplus(-self.discriminate(generated)).mean()

    def learn(self, batch: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator and one of the generator, on the same draws of the prior."""
        generated = self.generate(len(batch))
        discriminator_loss = self.discriminator_loss(batch, generated.detach())
        self.minimize(discriminator_loss, player="discriminator")
        generator_loss = self.generator_loss(generated)
        self.minimize(generator_loss, player="generator")
        return {"generator_loss": generator_loss, "discriminator_loss": discriminator_loss}

    def weights_of_players(self) -> list[PlayerWeights]:
        """The generator with the prior, and the discriminator."""
        generator = [*self.backbone.decoder.parameters(), *self.prior.parameters()]
        discriminator = [*self.backbone.encoder.parameters(), *self.verdict.parameters()]
        return [PlayerWeights(list(each), self.learning_rate, self.betas) for each in (generator, discriminator)]

    def cannot(self, ability: Ability, *, binary: bool) -> str | None:
        """A GAN can only be sampled from."""
        return (
            "a GAN has no encoder"
            if ability in ("encode", "interpolate", "active_units")
            else "a GAN defines no density of images"
        )

    def facts(self) -> dict[str, Any]:
        return {}


class CriticGAN(GAN, ABC):
    """A GAN whose critic T, a discriminator of bounded slope, takes `critic_steps` steps per step of the generator.

    generator: -E_z[T(G(z))]
    Raises: UserError for less than one step of the critic; Refused for batch normalization in the critic, with which
    it has no slope at a single image (Gulrajani et al. 2017, section 4).
    Source: Gulrajani et al. 2017, algorithm 1. Where we differ: there the generator's step follows `critic_steps` steps
    of the critic; here it follows the first of them, so that even the shortest training has one. Each step of the
    critic uses a new batch of images, so that an epoch costs about as much as that of any other method.
    """

    def __init__(
        self, *, backbone: Backbone, prior: Prior, learning_rate: float, beta1: float, beta2: float, critic_steps: int
    ) -> None:
        super().__init__(backbone=backbone, prior=prior, learning_rate=learning_rate, beta1=beta1)
        check_whole_number("model.critic_steps", critic_steps, minimum=1)
        if batch_normalizations(backbone.encoder):
            raise Refused(
                "the slope of a critic is bounded at each image by itself, and batch normalization mixes images: take "
                "backbone=conv or resnet, or model=gan"
            )
        self.betas = (self.betas[0], check_number("model.beta2", beta2, minimum=0, below=1))
        self.critic_steps = critic_steps
        # A bias would be added to T(x) and T(G(z)) alike. The Wasserstein loss does not depend on it, and Adam would
        # move it at random, by rounding errors. The authors' code of the hinge loss has none either.
        self.verdict = nn.Linear(backbone.features, 1, bias=False)

    @abstractmethod
    def discriminator_loss(self, real: Tensor, generated: Tensor) -> Tensor:
        """The critic's loss for real and generated images, (B, C, H, W) each, scalar."""

    def generator_loss(self, generated: Tensor) -> Tensor:
        return -self.discriminate(generated).mean()

    def kind_of_step(self) -> bool:
        """Whether the generator takes a step, too."""
        return self.done.batches % self.critic_steps == 0

    def learn(self, batch: Tensor) -> dict[str, Tensor]:
        """One step of the critic and, every `critic_steps` batches, one of the generator on new draws of the prior."""
        terms = {"discriminator_loss": self.discriminator_loss(batch, self.generate(len(batch)).detach())}
        self.minimize(terms["discriminator_loss"], player="discriminator")
        if self.kind_of_step():
            terms["generator_loss"] = self.generator_loss(self.generate(len(batch)))
            self.minimize(terms["generator_loss"], player="generator")
        return terms

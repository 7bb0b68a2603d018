"""Spectrally normalized GAN with hinge loss."""

from torch import Tensor
from torch.nn.functional import relu

from latentbench.backbones.base import Backbone, normalize_spectrally
from latentbench.models.gan import CriticGAN
from latentbench.priors.base import Prior


class HingeGAN(CriticGAN):
    """A discriminator T of spectrally normalized layers, trained to a margin of 1 on either side of 0.

    discriminator: E_x[max(0, 1 - T(x))] + E_z[max(0, 1 + T(G(z)))]
    generator:     -E_z[T(G(z))]
    Source: Miyato et al. 2018, equations 16 and 17; Lim & Ye 2017, section 3. Where we differ: see CriticGAN.
    """

    def __init__(
        self, *, backbone: Backbone, prior: Prior, learning_rate: float, beta1: float, beta2: float, critic_steps: int
    ) -> None:
        super().__init__(
            backbone=backbone,
            prior=prior,
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            critic_steps=critic_steps,
        )
        normalize_spectrally(backbone.encoder)
        normalize_spectrally(self.verdict)

    def discriminator_loss(self, real: Tensor, generated: Tensor) -> Tensor:
        return relu(1 - self.discriminate(real)).mean() + relu(1 + self.discriminate(generated)).mean()

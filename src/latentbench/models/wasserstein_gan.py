"""Wasserstein GAN with gradient penalty (WGAN-GP)."""

import torch
from torch import Tensor

from latentbench.backbones.base import Backbone
from latentbench.errors import check_number
from latentbench.models.gan import CriticGAN
from latentbench.priors.base import Prior


class WassersteinGAN(CriticGAN):
    """A generator that minimizes the 1-Wasserstein distance to the images, as estimated by a critic T of slope 1.

    critic:    E_z[T(G(z))] - E_x[T(x)] + penalty * E[(|grad T(x^)| - 1)^2], x^ = e x + (1 - e) G(z), e ~ U(0, 1)
    generator: -E_z[T(G(z))]
    Units: Euclidean distance between images in [0, 1]. Raises: UserError for a penalty below 0.
    Source: Gulrajani et al. 2017, equation 3 and algorithm 1. Where we differ: see CriticGAN.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        prior: Prior,
        learning_rate: float,
        beta1: float,
        beta2: float,
        critic_steps: int,
        penalty: float,
    ) -> None:
        super().__init__(
            backbone=backbone,
            prior=prior,
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            critic_steps=critic_steps,
        )
        self.penalty = check_number("model.penalty", penalty, minimum=0)

    def discriminator_loss(self, real: Tensor, generated: Tensor) -> Tensor:
        distance = self.discriminate(real).mean() - self.discriminate(generated).mean()
        return self.penalty * self.gradient_penalty(real, generated) - distance

    def gradient_penalty(self, real: Tensor, generated: Tensor) -> Tensor:
        """E[(|grad T(x^)| - 1)^2], scalar; x^ is a random point between a real and a generated image (B, C, H, W)."""
        weight = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
        interpolated = (weight * real + (1 - weight) * generated).detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminate(interpolated).sum(), interpolated, create_graph=True)
        excess: Tensor = slope.flatten(1).norm(dim=1) - 1
        return excess.square().mean()

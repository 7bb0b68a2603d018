"""Every autoencoder of the suite: the parts differ, the loss and the step are one."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.backbones.base import Backbone
from latentbench.errors import Refused
from latentbench.likelihoods.base import Likelihood
from latentbench.models.base import Ability, GenerativeModel
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import has_closed_form, kl_per_image


class Autoencoder(GenerativeModel):
    """loss = E_x [ E_q(z|x)[-log p(x|z)] + beta * R ], nats, summed over pixels and latent dimensions.

    The expectation over q is estimated with one draw per image (Kingma & Welling 2014, equation 8).
    Raises: Refused if the parts do not fit together.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        posterior: Posterior,
        prior: Prior,
        regularizer: Regularizer,
        likelihood: Likelihood,
        beta: float,
        learning_rate: float,
        critic_learning_rate: float,
    ) -> None:
        super().__init__(learning_rate=learning_rate, critic_learning_rate=critic_learning_rate)
        if prior.needs_posterior_density and not posterior.has_density:
            instead = "posterior=gaussian" if regularizer.trains_prior else "prior=normal or prior=laplace"
            raise Refused(
                f"{type(prior).__name__} is a mixture of posterior densities and {type(posterior).__name__} has "
                f"none: take {instead}"
            )
        if reason := regularizer.refuses(posterior=posterior, prior=prior):
            raise Refused(reason)
        self.backbone = backbone
        self.posterior = posterior
        self.prior = prior
        self.regularizer = regularizer
        self.likelihood = likelihood
        self.beta = beta
        self.learning_rate = learning_rate
        self.critic_learning_rate = critic_learning_rate

    def posterior_distribution(self, x: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (D,)."""
        q: Distribution = self.posterior(self.backbone.encode(x))
        return q

    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""
        p: Distribution = self.prior(self.posterior_distribution)
        return p

    def images(self, z: Tensor) -> Tensor:
        """Mean image of p(x|z), clipped to [0, 1]."""
        mean: Tensor = self.likelihood(self.backbone.decode(z)).mean
        return mean.clamp(0, 1)

    def terms(self, x: Tensor) -> tuple[dict[str, Tensor], Latents]:
        """The loss and its terms for a batch, scalars in nats, and what the regularizer saw."""
        q = self.posterior_distribution(x)
        z = q.rsample()
        p = self.prior_distribution()
        latents = Latents(x=x, z=z, q=q, p=p, decode=self.backbone.decode)
        distortion = -self.likelihood(self.backbone.decode(z)).log_prob(x).mean()
        regularization = self.regularizer(latents)
        loss = distortion + self.beta * regularization
        return {"loss": loss, "distortion": distortion, "regularizer": regularization}, latents

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One step on the loss and, where there is a critic, one on the critic's."""
        optimizers = self.optimizers()
        main, *critic = optimizers if isinstance(optimizers, list) else [optimizers]
        terms, latents = self.terms(batch)
        self._step(main, terms["loss"])
        if critic:
            critic_loss = self.regularizer.critic_loss(latents)
            assert critic_loss is not None
            self._step(critic[0], critic_loss)
            terms["critic_loss"] = critic_loss
        self.note("train", terms, len(batch))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """The same terms on images that are not trained on."""
        terms, _ = self.terms(batch)
        self.note("validation", terms, len(batch))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for all but the critic, and Adam for the critic where there is one."""
        critic = list(self.regularizer.parameters())
        owned = {id(parameter) for parameter in critic}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in owned]
        groups = [(rest, self.learning_rate), (critic, self.critic_learning_rate)]
        return [torch.optim.Adam(parameters, lr=rate, fused=True) for parameters, rate in groups if parameters]

    def lacks(self, ability: Ability, *, binary: bool) -> str | None:
        """An autoencoder encodes; densities depend on its posterior and likelihood."""
        if ability in ("rate", "log_likelihood") and not self.posterior.has_density:
            return f"{type(self.posterior).__name__}, a deterministic encoder, has no density of latents"
        if ability in ("distortion", "log_likelihood"):
            return self.likelihood.not_a_density_of(binary=binary)
        return None

    def pixel_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), nats, shape (S, B) for x (B, C, H, W) and z (S, B, D)."""
        raw = self.backbone.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        log_prob: Tensor = self.likelihood(raw).log_prob(x)
        return log_prob

    def kl_per_image(self, q: Distribution, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), nats, shape (B,): closed form or the mean over the draws z (S, B, D)."""
        kl = kl_per_image(q, self.prior_distribution(), z)
        return kl if kl.dim() == 1 else kl.mean(0)

    @torch.no_grad()
    def facts(self) -> dict[str, Any]:
        """How KL(q || p) is had, and the likelihood's learned scale."""
        kl = {}
        if self.posterior.has_density:
            q = self.posterior_distribution(torch.zeros(1, *self.backbone.shape, device=self.device))
            closed = has_closed_form(q, self.prior_distribution())
            kl = {"kl": "closed form" if closed else "Monte Carlo"}
        return kl | self.likelihood.facts()

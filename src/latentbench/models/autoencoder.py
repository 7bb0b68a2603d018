"""Every autoencoder of the suite: the parts differ, the loss and the step are one."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from latentbench.annealing.base import Annealing
from latentbench.backbones.base import Backbone
from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, CODES, SPHERE, Space
from latentbench.errors import Refused
from latentbench.likelihoods.base import Likelihood, PixelDistribution
from latentbench.models.base import Ability, GenerativeModel
from latentbench.objectives.base import Objective
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import has_closed_form, kl_per_image


class Autoencoder(GenerativeModel):
    """loss = E_x [ E_q(z|x)[-log p(x|z)] + beta * R ], nats, summed over pixels and latent dimensions.

    That is objective=elbo and annealing=constant; an objective may bound log p(x) otherwise, an annealing change R over
    the training, and a posterior bring a loss of its own.
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
        objective: Objective,
        annealing: Annealing,
        dataset_size: int,
        beta: float,
        learning_rate: float,
        critic_learning_rate: float,
    ) -> None:
        super().__init__(learning_rate=learning_rate, critic_learning_rate=critic_learning_rate)
        if reason := regularizer.refuses(posterior=posterior, prior=prior):
            raise Refused(reason)
        if reason := objective.refuses(regularizer=regularizer, annealing=annealing):
            raise Refused(reason)
        if prior.is_learned and beta == 0:
            raise Refused(
                f"with beta=0 nothing trains the learned prior {type(prior).__name__}: take prior=normal, or beta=1"
            )
        self.backbone = backbone
        self.head = nn.Linear(backbone.features, posterior.inputs)
        self.posterior = posterior
        self.prior = prior
        self.regularizer = regularizer
        self.likelihood = likelihood
        self.objective = objective
        self.annealing = annealing
        self.dataset_size = dataset_size
        self.progress = 0.0  # of the training, from 0 to 1
        self.beta = beta
        self.learning_rate = learning_rate
        self.critic_learning_rate = critic_learning_rate
        regularizer.constrain(backbone.decoder)

    def posterior_distribution(self, x: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (D,)."""
        raw = in_full(self.head(self.backbone.encode(x)))
        with torch.autocast(x.device.type, enabled=False):
            q: Distribution = self.posterior(raw)
        return q

    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""
        return self.posterior.adapt_prior(self.prior(self.posterior_distribution))

    @property
    def space(self) -> Space:
        """Where p has its latents."""
        return self.prior.space or self.posterior.space

    def half_width(self) -> float:
        """Of the box that latents are in, or infinite."""
        return BOX_HALF_WIDTH if self.space is BOX else math.inf

    def pixel_distribution(self, z: Tensor) -> PixelDistribution:
        """p(x|z), batch shape (B,), event shape (C, H, W), for latents (B, D)."""
        p: PixelDistribution = self.likelihood(in_full(self.backbone.decode(z)))
        return p

    def images(self, z: Tensor) -> Tensor:
        """Mean image of p(x|z), clipped to [0, 1]."""
        return self.pixel_distribution(z).mean.clamp(0, 1)

    def terms(self, x: Tensor) -> tuple[dict[str, Tensor], Latents]:
        """The loss and its terms for a batch, scalars in nats, and what the regularizer saw."""
        q, p = self.posterior_distribution(x), self.prior_distribution()
        # Draws, distances and densities of latents lose too much in half precision.
        with torch.autocast(x.device.type, enabled=False):
            if self.objective.samples == 1:
                first = q.rsample()  # as it is drawn: some distributions know the density of their last draw
                z = first[None]
            else:
                z = q.rsample((self.objective.samples,))
                first = z[0]
        log_likelihood = self.pixel_log_prob(x, z)
        latents = Latents(x=x, z=first, q=q, p=p, decoder=self.backbone.decoder, dataset_size=self.dataset_size)
        with torch.autocast(x.device.type, enabled=False):
            terms = self.objective.terms(
                log_likelihood=log_likelihood,
                z=z,
                latents=latents,
                regularizer=self.regularizer,
                weigh=lambda regularization: self.beta * self.annealing(regularization, self.progress),
            )
            auxiliary_loss = self.posterior.auxiliary_loss(q)
        if auxiliary_loss is not None:
            terms |= {"loss": terms["loss"] + auxiliary_loss, "posterior_loss": auxiliary_loss}
        return terms, latents

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One step on the loss and, where there is a critic, one on the critic's."""
        optimizers = self.optimizers()
        main, *critic = optimizers if isinstance(optimizers, list) else [optimizers]
        epochs = self.current_epoch + batch_idx / self.trainer.num_training_batches
        self.progress = epochs / (self.trainer.max_epochs or 1)
        terms, latents = self.terms(batch)
        self._step(main, terms["loss"])
        if critic:
            with torch.autocast(batch.device.type, enabled=False):
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

    def cannot(self, ability: Ability, *, binary: bool) -> str | None:
        """An autoencoder encodes; densities depend on its posterior, prior and likelihood."""
        q, p = type(self.posterior).__name__, type(self.prior).__name__
        without_density = f"{q}, a deterministic encoder, has no density of latents"
        there = self.space
        outside = f"{q} gives probability to latents outside of {there.description}, where {p} has none"
        is_inside = self.posterior.space is there
        if ability == "interpolate" and there is CODES:
            return f"latents are in {CODES.description}, and there is none half-way between two"
        if ability == "units" and there in (SPHERE, CODES):
            return f"latents are in {there.description}, where no coordinate can be left unused by itself"
        if ability == "factors" and not self.posterior.is_factorised:
            return f"{q} has no independent coordinates"
        if ability == "rate" and is_inside and self.has_closed_rate():
            return None
        if ability in ("rate", "posterior_density"):
            if not self.posterior.has_density:
                return without_density
            return None if is_inside else f"{outside}: its KL divergence is infinite"
        if ability == "log_likelihood":
            if not self.posterior.has_density:
                return without_density
            # Draws in a box are all it takes; none is ever on a sphere or a code word.
            if not is_inside and there is not BOX:
                return f"{outside}: no draw of it has the prior's density"
        if ability == "joint_density" and there in (SPHERE, CODES):
            return (
                f"latents are in {there.description}, where no gradient of log p(x, z) in R^n leads from one to "
                "the next"
            )
        if ability in ("distortion", "log_likelihood", "joint_density"):
            return self.likelihood.not_a_density_of(binary=binary)
        return None

    def pixel_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), nats, shape (S, B) for x (B, C, H, W) and z (S, B, D), or (S, 1, D) for all."""
        raw = self.backbone.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        log_prob: Tensor = self.likelihood(in_full(raw)).log_prob(x)
        return log_prob

    @torch.no_grad()
    def draw_pixels(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) drawn of p(x|z) for latents (B, D)."""
        return self.pixel_distribution(z).sample()

    @torch.no_grad()
    def code(self, x: Tensor) -> Tensor:
        """The latent (B, D) that stands for x (B, C, H, W)."""
        return self.posterior.point_estimate(self.posterior_distribution(x))

    def interpolate(self, start: Tensor, end: Tensor) -> Tensor:
        """Latents (B, D) half-way, as the prior's geometry has it."""
        return self.prior.midpoint(start, end)

    def kl_per_image(self, q: Distribution, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), nats, shape (B,): closed form or the mean over the draws z (S, B, D)."""
        kl = kl_per_image(q, self.prior_distribution(), z)
        return kl if kl.dim() == 1 else kl.mean(0)

    @torch.no_grad()
    def has_closed_rate(self) -> bool:
        """Whether KL(q || p) is known in closed form."""
        q = self.posterior_distribution(torch.zeros(1, *self.backbone.shape, device=self.device))
        return has_closed_form(q, self.prior_distribution())

    def facts(self) -> dict[str, Any]:
        """How KL(q || p) is had, and the likelihood's learned scale."""
        if self.cannot("rate", binary=False):
            return self.likelihood.facts()
        return {"kl": "closed form" if self.has_closed_rate() else "Monte Carlo"} | self.likelihood.facts()


def in_full(raw: Tensor) -> Tensor:
    """Numbers in single precision or better, whatever the networks computed in."""
    return raw.to(torch.promote_types(raw.dtype, torch.float32))

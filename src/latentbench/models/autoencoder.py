"""The autoencoder: one loss and one training step for all choices of its parts."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from latentbench.annealing.base import Annealing
from latentbench.backbones.base import Backbone, batch_normalizations
from latentbench.distributions.spaces import BOX, BOX_HALF_WIDTH, CODES, SPHERE, Space
from latentbench.errors import Refused, check_number
from latentbench.likelihoods.base import Likelihood, PixelDistribution
from latentbench.models.base import Ability, GenerativeModel
from latentbench.models.recipe import BETAS, PlayerWeights
from latentbench.objectives.base import Objective
from latentbench.posteriors.base import Posterior
from latentbench.priors.base import Prior
from latentbench.regularizers.base import Latents, Regularizer
from latentbench.regularizers.kullback_leibler import has_closed_form, kl_per_image


class Autoencoder(GenerativeModel):
    """loss = E_x [ E_q(z|x)[-log p(x|z)] + beta * R ], summed over pixels and latent dimensions.

    This is the loss of objective=elbo with annealing=constant. Other objectives bound log p(x) in another way, other
    annealings change R during training, and a posterior may add a loss term.
    Units: nats. Raises: Refused if the parts do not fit together.
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
        beta1: float | None,
    ) -> None:
        super().__init__(learning_rate=learning_rate, critic_learning_rate=critic_learning_rate)
        if reason := regularizer.refuses(posterior=posterior, prior=prior):
            raise Refused(reason)
        if reason := objective.refuses(regularizer=regularizer, annealing=annealing):
            raise Refused(reason)
        if prior.is_learned and beta == 0:
            raise Refused(
                f"with beta=0 the learned prior {type(prior).__name__} is never trained: take prior=normal, or beta=1"
            )
        if prior.needs_posterior_density and batch_normalizations(backbone.encoder):
            raise Refused(
                f"{type(prior).__name__} encodes images of its own, and batch normalization in the encoder would mix "
                "their means and variances with those of the data: take backbone=conv or resnet, or prior=normal"
            )
        self.backbone = backbone
        if backbone.latent_shape is not None:
            if not posterior.per_coordinate:
                raise Refused(
                    f"{type(posterior).__name__} has parameters that belong to no single position of a grid: take "
                    "posterior=gaussian, or backbone=conv or resnet"
                )
            posterior.share_over_positions(math.prod(backbone.latent_shape[1:]))
        self.head = backbone.head(posterior.inputs)
        self.posterior = posterior
        self.prior = prior
        self.regularizer = regularizer
        self.likelihood = likelihood
        self.objective = objective
        self.annealing = annealing
        self.dataset_size = dataset_size
        self.beta = beta
        self.learning_rate = learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.betas = BETAS if beta1 is None else (check_number("model.beta1", beta1, minimum=0, below=1), BETAS[1])
        regularizer.constrain(backbone.decoder)

    def posterior_distribution(self, x: Tensor) -> Distribution:
        """q(z|x), batch shape (B,), event shape (D,)."""
        raw = at_least_float32(self.head(self.backbone.encode(x)))
        with in_full_precision(x):
            q: Distribution = self.posterior(raw)
        return q

    def prior_distribution(self) -> Distribution:
        """p(z), event shape (D,)."""
        return self.posterior.adapt_prior(self.prior(self.posterior_distribution))

    @property
    def space(self) -> Space:
        return self.prior.space or self.posterior.space

    @property
    def levels(self) -> int | None:
        return self.likelihood.levels

    def box_half_width(self) -> float:
        return BOX_HALF_WIDTH if self.space is BOX else math.inf

    def pixel_distribution(self, z: Tensor) -> PixelDistribution:
        """p(x|z), batch shape (B,), event shape (C, H, W), for latents (B, D)."""
        p: PixelDistribution = self.likelihood(at_least_float32(self.backbone.decode(z)))
        return p

    def decode(self, z: Tensor) -> Tensor:
        """Mean image of p(x|z), clipped to [0, 1]."""
        parts = z.split(max(1, self.backbone.rows_at_once(len(z))))
        return torch.cat([self.pixel_distribution(part).mean.clamp(0, 1) for part in parts])

    def terms(self, x: Tensor) -> tuple[dict[str, Tensor], Latents]:
        """The loss of a batch and its terms, scalars in nats, and the latents that the regularizer received."""
        q, p = self.posterior_distribution(x), self.prior_distribution()
        number = self.scheduled_number() if self.done.scheduled_number is None else self.done.scheduled_number
        # Half precision is too inaccurate for draws, distances and densities of latents.
        with in_full_precision(x):
            if self.objective.samples == 1:
                # Used without a change of shape, because some distributions remember the density of their last draw.
                first = q.rsample()
                z = first[None]
            else:
                z = q.rsample((self.objective.samples,))
                first = z[0]
        log_likelihood = self.pixel_log_prob(x, z)
        latents = Latents(
            x=x,
            z=first,
            q=q,
            p=p,
            decoder=self.backbone.decoder,
            decode=lambda z: self.pixel_distribution(z).mean,
            dataset_size=self.dataset_size,
        )
        with in_full_precision(x):
            terms = self.objective.terms(
                log_likelihood=log_likelihood,
                z=z,
                latents=latents,
                regularizer=self.regularizer,
                weigh=lambda regularization: self.beta * self.annealing(regularization, number),
            )
            auxiliary_loss = self.posterior.auxiliary_loss(q)
        if auxiliary_loss is not None:
            terms |= {"loss": terms["loss"] + auxiliary_loss, "posterior_loss": auxiliary_loss}
        return terms, latents

    def learn(self, batch: Tensor) -> dict[str, Tensor]:
        """One step of the main optimizer and, if the regularizer has a critic, one of the critic's."""
        terms, latents = self.terms(batch)
        self.minimize(terms["loss"], player="model")
        if "critic" in self._optimizers:
            with in_full_precision(batch):
                critic_loss = self.regularizer.critic_loss(latents)
            assert critic_loss is not None
            self.minimize(critic_loss, player="critic")
            terms["critic_loss"] = critic_loss
        return terms

    def scheduled_number(self) -> float:
        return self.annealing.number(self.done.share)

    @property
    def follows_progress(self) -> bool:
        return self.annealing.follows_progress

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        terms, _ = self.terms(batch)
        self.accumulate_terms("validation", terms, len(batch))

    def weights_of_players(self) -> list[PlayerWeights]:
        """The critic's parameters, if there are any, are the second player's; all others the first's."""
        critic = list(self.regularizer.parameters())
        critic_ids = {id(parameter) for parameter in critic}
        main = [parameter for parameter in self.parameters() if id(parameter) not in critic_ids]
        groups = [(main, self.learning_rate), (critic, self.critic_learning_rate)]
        return [PlayerWeights(list(weights), rate, self.betas) for weights, rate in groups if weights]

    def cannot(self, ability: Ability, *, binary: bool) -> str | None:
        """An autoencoder can always encode. The other abilities depend on its posterior, prior and likelihood."""
        q, p = type(self.posterior).__name__, type(self.prior).__name__
        space = self.space
        no_density = f"{q} is a deterministic encoder and has no density of latents"
        outside = f"{q} gives probability to latents outside of {space.description}, where {p} has none"
        is_inside = self.posterior.space is space
        if ability == "interpolate" and space is CODES:
            return f"latents are in {CODES.description}, and none is half-way between two others"
        if ability == "active_units" and space in (SPHERE, CODES):
            return f"latents are in {space.description}, where a single coordinate cannot be unused"
        if ability == "independent_coordinates" and not self.posterior.is_factorised:
            return f"{q} has no independent coordinates"
        if ability == "rate" and is_inside and self.has_closed_rate():
            return None
        if ability in ("rate", "posterior_density"):
            if not self.posterior.has_density:
                return no_density
            return None if is_inside else f"{outside}: its KL divergence is infinite"
        if ability == "log_likelihood":
            if not self.posterior.has_density:
                return no_density
            # Some draws from R^n lie in a box, which is enough. None lies on the sphere or is a code word.
            if not is_inside and space is not BOX:
                return f"{outside}: none of its draws has a density under the prior"
        if ability == "joint_density" and space in (SPHERE, CODES):
            return (
                f"latents are in {space.description}, which steps along the gradient of log p(x, z) in R^n would leave"
            )
        if ability in ("distortion", "log_likelihood", "joint_density"):
            return self.likelihood.not_a_density_of(binary=binary)
        return None

    def pixel_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        raw = self.backbone.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        log_prob: Tensor = self.likelihood(at_least_float32(raw)).log_prob(x)
        return log_prob

    @torch.no_grad()
    def sample_pixels(self, z: Tensor) -> Tensor:
        return self.pixel_distribution(z).sample()

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.posterior.point_estimate(self.posterior_distribution(x))

    def interpolate(self, start: Tensor, end: Tensor) -> Tensor:
        """Latents half-way from start to end on the prior's path, all (B, D)."""
        return self.prior.midpoint(start, end)

    def kl_per_image(self, q: Distribution, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), nats, (B,), in closed form or as the mean over draws z (S, B, D)."""
        kl = kl_per_image(q, self.prior_distribution(), z)
        return kl if kl.dim() == 1 else kl.mean(0)

    @torch.no_grad()
    def has_closed_rate(self) -> bool:
        """Whether KL(q || p) has a closed form."""
        q = self.posterior(torch.zeros(1, self.posterior.inputs, device=self.device).to(self.dtype))
        return has_closed_form(q, self.prior_distribution())

    def facts(self) -> dict[str, Any]:
        """The weight beta as a number, how KL(q || p) is computed, and the facts of the likelihood."""
        facts: dict[str, Any] = {"beta": self.beta}
        if not self.cannot("rate", binary=False):
            facts["kl"] = "closed form" if self.has_closed_rate() else "Monte Carlo"
        return facts | self.likelihood.facts()


def in_full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Computes without half precision. Costs nothing if none is in use."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def at_least_float32(raw: Tensor) -> Tensor:
    """The output of a network in float32 at least, even if the network computes in half precision."""
    return raw.to(torch.promote_types(raw.dtype, torch.float32))

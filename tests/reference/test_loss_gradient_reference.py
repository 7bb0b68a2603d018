"""Loss and gradients of every regularizer against its formula in plain operations, of the same draws."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import autoencoder, refusal_of
from latentbench.models.autoencoder import Autoencoder
from latentbench.regularizers.base import Latents
from latentbench.regularizers.kullback_leibler import KullbackLeibler
from published import N, critics_output, keep_draws, pairs_mmd

BETA = 2.5
SIZE = 3


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a formula is made of: z as mean + scale * noise, and what was drawn besides."""

    model: Autoencoder
    x: Tensor
    z: Tensor
    mean: Tensor
    log_scale: Tensor
    draws: list[Tensor]  # of the prior
    noise: list[Tensor]  # all that was drawn of N(0, 1)

    def log_prior(self) -> Tensor:
        prior = self.model.prior
        if not prior.is_learned:
            return (-0.5 * self.z.square() - 0.5 * math.log(2 * math.pi)).sum(1)
        if not hasattr(prior, "means"):  # a flow, which is itself tested elsewhere
            return self.model.prior_distribution().log_prob(self.z)
        scaled = (self.z[:, None] - prior.means) / prior.log_scales.exp()
        parts = (-0.5 * scaled.square() - prior.log_scales - 0.5 * math.log(2 * math.pi)).sum(2)
        return (prior.logits.softmax(0) * parts.exp()).sum(1).log()

    def kl(self) -> Tensor:
        """Closed form with N(0, I), else log q(z|x) - log p(z)."""
        if not self.model.prior.is_learned:
            return 0.5 * (self.mean.square() + (2 * self.log_scale).exp() - 1 - 2 * self.log_scale).sum() / N
        return (self.log_factors(self.z, self.mean, self.log_scale).sum(1) - self.log_prior()).sum() / N

    @staticmethod
    def log_factors(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        squares = (z - mean).square() * (-2 * log_scale).exp()
        return -0.5 * squares - log_scale - 0.5 * math.log(2 * math.pi)

    def log_odds(self, slope: float) -> Tensor:
        return critics_output(self.model.regularizer.critic, self.z, slope)

    def half_norm(self) -> Tensor:
        return sum(row @ row for row in self.z) / (2 * N)


def adversarial(seen: Seen) -> Tensor:
    return binary_cross_entropy_with_logits(seen.log_odds(0.0), torch.ones(N, 1))


def cramer_wold(seen: Seen) -> Tensor:
    """The density of each projection, smoothed, against the normal's, averaged over directions by quadrature."""
    z, g = seen.z.double(), (4 / (3 * N)) ** 0.4
    # In three dimensions a coordinate of a random direction is uniform: the midpoint rule on (0, 1).
    coordinate = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000

    def averaged(squared: Tensor, variance: float) -> Tensor:
        """Mean over directions of the density at v.u of N(0, variance), |u|^2 given."""
        exponents = -squared[..., None] * coordinate.square() / (2 * variance)
        return exponents.exp().mean(-1) / math.sqrt(2 * math.pi * variance)

    among = averaged((z[:, None] - z).square().sum(2), 2 * g).mean()
    between = averaged(z.square().sum(1), 1 + 2 * g).mean()
    return (among + 1 / math.sqrt(2 * math.pi * (2 + 2 * g)) - 2 * between).log().float()


def penalised(covariance: Tensor, diagonal: float) -> Tensor:
    cells = [
        diagonal * (covariance[i, j] - 1) ** 2 if i == j else 10 * covariance[i, j] ** 2
        for i, j in itertools.product(range(SIZE), repeat=2)
    ]
    return sum(cells[1:], start=cells[0])


def dip(seen: Seen) -> Tensor:
    return seen.kl() + penalised(torch.cov(seen.mean.T, correction=0), 100)


def dip_ii(seen: Seen) -> Tensor:
    covariance = torch.cov(seen.mean.T, correction=0) + torch.diag((2 * seen.log_scale).exp().mean(0))
    return seen.kl() + penalised(covariance, 10)


def factor(seen: Seen) -> Tensor:
    return seen.kl() + 35 * seen.log_odds(0.2).sum() / N


def free_bits(seen: Seen) -> Tensor:
    each = 0.5 * (seen.mean.square() + (2 * seen.log_scale).exp() - 1 - 2 * seen.log_scale).mean(0)
    assert (each < 0.25).any()
    assert (each > 0.25).any()
    return sum((part for part in each if part > 0.25), start=0.25 * (each < 0.25).sum())


def gradient_penalty(seen: Seen) -> Tensor:
    def decode(z: Tensor) -> Tensor:
        return seen.model.backbone.decoder(z[None]).flatten()

    jacobians = [torch.autograd.functional.jacobian(decode, row, create_graph=True) for row in seen.z]
    total = sum((2 * decode(row) @ jacobian).square().sum() for row, jacobian in zip(seen.z, jacobians, strict=True))
    return seen.half_norm() + 2.5e-4 * total / N


def info(seen: Seen) -> Tensor:
    (draws,) = seen.draws
    each = [(a[:, None] - b).square().sum(2) for a, b in ((seen.z, seen.z), (draws, draws), (seen.z, draws))]
    within, of_prior, between = (torch.exp(-squared / SIZE**2).mean() for squared in each)
    return seen.kl() + 999 * (within + of_prior - 2 * between)


def kl(seen: Seen) -> Tensor:
    return seen.kl()


def l2(seen: Seen) -> Tensor:
    _first, *others = [layer for layer in seen.model.backbone.decoder if isinstance(layer, nn.Linear)]
    return seen.half_norm() + 5e-4 * SIZE * sum(layer.weight.pow(2).sum() for layer in others)


def mmd(seen: Seen) -> Tensor:
    (draws,) = seen.draws
    widths = [s * 2 * SIZE for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    return pairs_mmd(seen.z, draws, lambda squared: sum(w / (w + squared) for w in widths))


def none(seen: Seen) -> Tensor:
    return torch.zeros(())


def sinkhorn(seen: Seen) -> Tensor:
    """Entropic transport in units of z squared; the plan is the best one and has no gradient."""
    (draws,) = seen.draws
    epsilon = 0.5 * 2 * SIZE

    def transport(a: Tensor, b: Tensor) -> Tensor:
        cost = (a[:, None] - b).square().sum(2)
        with torch.no_grad():
            kernel = (-cost / epsilon).exp()
            left, right = torch.ones(N).double(), torch.ones(N).double()
            for _ in range(300):
                left = 1 / N / (kernel @ right)
                right = 1 / N / (kernel.T @ left)
            plan = left[:, None] * kernel * right
            entropy = (plan * (plan * N**2).log()).sum()
        return (plan * cost).sum() + epsilon * entropy

    z, p = seen.z.double(), draws.double()
    return (transport(z, p) - 0.5 * transport(z, z) - 0.5 * transport(p, p)).float()


def sliced_wasserstein(seen: Seen) -> Tensor:
    (draws,) = seen.draws
    (gaussian,) = [noise for noise in seen.noise if noise.shape == (50, SIZE)]
    total = torch.zeros(())
    for direction in normalize(gaussian, dim=1):
        total = total + ((seen.z @ direction).sort().values - (draws @ direction).sort().values).square().sum()
    return total / (50 * N)


def squared_norm(seen: Seen) -> Tensor:
    return seen.half_norm()


def total_correlation(seen: Seen) -> Tensor:
    """I + 6 TC + the dimension-wise divergence, by loops, with weights of 1 / (N B) for the images."""
    weight = 1 / (seen.model.dataset_size * N)
    total = torch.zeros(())
    for i in range(N):
        # Densities of z_i in every coordinate for all images.
        each = seen.log_factors(seen.z[i], seen.mean, seen.log_scale).exp()
        joint = sum(weight * row.prod() for row in each).log()
        product = sum(weight * row for row in each).log().sum()
        own = each[i].log().sum()
        total = total + (own - joint) + 6 * (joint - product) + (product - seen.log_prior()[i])
    return total / N


FORMULAS: dict[str, Callable[[Seen], Tensor]] = {
    "adversarial": adversarial,
    "cramer_wold": cramer_wold,
    "dip": dip,
    "dip_ii": dip_ii,
    "factor": factor,
    "free_bits": free_bits,
    "gradient_penalty": gradient_penalty,
    "info": info,
    "kl": kl,
    "l2": l2,
    "mmd": mmd,
    "none": none,
    "sinkhorn": sinkhorn,
    "sliced_wasserstein": sliced_wasserstein,
    "spectral_norm": squared_norm,
    "squared_norm": squared_norm,
    "total_correlation": total_correlation,
}


TAKEN = [
    (regularizer, posterior, prior)
    for regularizer, posterior, prior in itertools.product(
        FORMULAS, ["gaussian", "dirac"], ["normal", "mixture", "flow"]
    )
    if refusal_of(posterior, prior, regularizer) is None
]


def model_of(regularizer: str, posterior: str, prior: str) -> Autoencoder:
    """A model away from its first weights."""
    model = autoencoder(few_digits(), latent_size=SIZE, posterior=posterior, prior=prior, regularizer=regularizer)
    model.beta = BETA
    with torch.no_grad():
        # Codes about as far from the origin as the prior's draws, some coordinates more than others.
        model.head.weight.mul_(3)
        model.head.bias.copy_(0.5 * torch.randn(len(model.head.bias)))
    if regularizer == "sinkhorn":
        model.regularizer.iterations, model.regularizer.tolerance = 300, 0.0
    return model.eval()  # in training every pass moves a spectrally normalised weight


def seen_by(model: Autoencoder, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Tensor], Latents, Seen]:
    """The model's terms, and what their formulas need."""
    with monkeypatch.context() as patch:
        draws, noise = keep_draws(patch)
        terms, latents = model.terms(x)
    raw = model.head(model.backbone.encoder(x))
    mean, log_scale = raw.chunk(2, 1) if raw.shape[1] == 2 * SIZE else (raw, torch.zeros_like(raw))
    e = ((latents.z - mean) / log_scale.exp()).detach()
    seen = Seen(model, x, mean + log_scale.exp() * e, mean, log_scale, draws, noise)
    return terms, latents, seen


def distortion(seen: Seen) -> Tensor:
    """-log p(x|z) of conf/likelihood/gaussian.yaml, whose log scale has a soft bound of -6."""
    log_scale = -6 + torch.log1p((10 * seen.model.likelihood.parameter + 6).exp())
    squares = (seen.x - seen.model.backbone.decoder(seen.z)).square().sum() / N
    return squares / (2 * log_scale.exp() ** 2) + 64 * (log_scale + 0.5 * math.log(2 * math.pi))


def test_every_formula_is_compared() -> None:
    assert {regularizer for regularizer, _, _ in TAKEN} == set(FORMULAS)
    assert {("kl", "gaussian", "mixture"), ("mmd", "dirac", "flow"), ("info", "gaussian", "flow")} < set(TAKEN)


@pytest.mark.parametrize(("regularizer", "posterior", "prior"), TAKEN)
def test_loss_and_gradients_are_those_of_the_formula(
    regularizer: str, posterior: str, prior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(regularizer, posterior, prior)
    if isinstance(model.regularizer, KullbackLeibler):
        model.regularizer.samples = 1  # the draw that the formula sees
    terms, _, seen = seen_by(model, some_images(few_digits(), N), monkeypatch)
    r = FORMULAS[regularizer](seen)
    # Single precision; the logarithm of the Cramer-Wold distance is of a difference of numbers of about 0.5.
    precision = 2e-3 if regularizer == "cramer_wold" else 2e-4
    torch.testing.assert_close(terms["regularizer"], r, rtol=precision, atol=1e-5)
    torch.testing.assert_close(terms["loss"], distortion(seen) + BETA * r, rtol=precision, atol=1e-5)

    # R by itself, whose gradients would drown in the distortion's, and the loss.
    weights = dict(model.named_parameters())
    for made, written in [(BETA * terms["regularizer"], BETA * r), (terms["loss"], distortion(seen) + BETA * r)]:
        ours, theirs = gradients(made, weights), gradients(written, weights)
        assert not [name for name, one in ours.items() if one is not None and name.startswith("regularizer.")], "critic"
        largest = max(one.abs().max().item() for one in theirs.values() if one is not None) if theirs else 0.0
        assert largest > 0 or regularizer == "none"
        for name, other in theirs.items():
            if name.startswith("regularizer."):
                continue
            one, other = (torch.zeros_like(weights[name]) if g is None else g for g in (ours[name], other))
            torch.testing.assert_close(one, other, rtol=precision, atol=precision * (1e-2 * largest + 1e-3), msg=name)


def gradients(loss: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor | None]:
    if not loss.requires_grad:
        return {}
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, retain_graph=True)
    return dict(zip(weights, found, strict=True))


@pytest.mark.parametrize("regularizer", FORMULAS)
def test_a_critics_loss_has_gradients_for_the_critic_and_for_nothing_else(regularizer: str) -> None:
    model = model_of(*next(parts for parts in TAKEN if parts[0] == regularizer and parts[2] == "normal"))
    _, latents = model.terms(some_images(few_digits(), N))
    loss = model.regularizer.critic_loss(latents)
    critic = [name for name, _ in model.named_parameters() if name.startswith("regularizer.")]
    assert (loss is not None) == bool(critic)
    assert bool(critic) == (regularizer in ("adversarial", "factor"))
    if loss is not None:
        loss.backward()
        assert [name for name, weight in model.named_parameters() if weight.grad is not None] == critic
        assert all(model.get_parameter(name).grad.any() for name in critic)

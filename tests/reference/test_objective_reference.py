"""The importance-weighted bound against written-out bounds and exact marginals; annealing along a training."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.distributions import MultivariateNormal

from latentbench.annealing.base import Annealing
from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import autoencoder, composed, linear_autoencoder, options, part_of, plain
from latentbench.errors import Refused
from latentbench.evaluation.build import build_model
from latentbench.models.autoencoder import Autoencoder
from latentbench.running.train import fit

SCALE = 0.5


def weighted_model(samples: int, **parts: str) -> Autoencoder:
    """A small autoencoder with the importance-weighted bound of so many draws."""
    model = autoencoder(few_digits(), objective="importance_weighted", **parts)
    model.objective = part_of("objective", "importance_weighted", samples=samples)
    return model


def terms_and_draws(model: Autoencoder, x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """The terms and, of the same draws: log p(x|z), log p(z) and log q(z|x), each (samples, B)."""
    torch.manual_seed(1)
    terms, _ = model.terms(x)
    torch.manual_seed(1)
    mean, log_scale = model.head(model.backbone.encoder(x)).chunk(2, 1)
    z = mean + log_scale.exp() * torch.randn(model.objective.samples, *mean.shape)
    raw = model.backbone.decoder(z.flatten(0, 1)).reshape(len(z), *x.shape)
    scale = model.likelihood(raw).log_scale.exp()
    pixels = -0.5 * ((x - raw) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
    prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    posterior = -0.5 * ((z - mean) / log_scale.exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)
    return terms, pixels.sum((2, 3, 4)), prior.sum(2), posterior.sum(2)


def assert_same_gradients(model: Autoencoder, made: Tensor, written: Tensor) -> None:
    weights = dict(model.named_parameters())
    ours, theirs = (torch.autograd.grad(loss, list(weights.values())) for loss in (made, written))
    for name, one, other in zip(weights, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item() + 1e-7, msg=name)


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_the_bound_and_its_gradients_are_the_papers(samples: int) -> None:
    model, x = weighted_model(samples), some_images(few_digits(), 5)
    torch.nn.init.constant_(model.likelihood.parameter, -0.05)
    terms, pixels, prior, posterior = terms_and_draws(model, x)
    # In double precision the mean of the weights themselves, without a logarithm's tricks.
    ratios = (pixels + prior - posterior).double()
    written = -(ratios - 60).exp().mean(0).log().mean().float() - 60
    torch.testing.assert_close(terms["loss"], written, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(terms["distortion"], -pixels.mean(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(terms["regularizer"], (posterior - prior).mean(), rtol=1e-5, atol=1e-4)
    assert_same_gradients(model, terms["loss"], written)


def test_of_one_draw_it_is_minus_the_elbo() -> None:
    model, x = weighted_model(1), some_images(few_digits(), 5)
    terms, pixels, prior, posterior = terms_and_draws(model, x)
    torch.testing.assert_close(terms["loss"], -(pixels + prior - posterior).mean(), rtol=1e-5, atol=1e-4)
    elbo = autoencoder(few_digits())  # with the KL divergence in closed form
    elbo.load_state_dict(model.state_dict())
    with torch.no_grad():
        many = x.repeat(30, 1, 1, 1)
        differences = torch.stack([model.terms(many)[0]["loss"] - elbo.terms(many)[0]["loss"] for _ in range(50)])
    error = differences.std() / 50**0.5
    assert differences.mean().abs() < 4 * error
    assert error < 0.1


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize(("annealing", "progress", "share"), [("constant", 0.1, 1.0), ("warmup", 0.1, 0.4)])
def test_beta_and_warmup_weigh_the_prior_over_the_posterior_draw_by_draw(
    beta: float, annealing: str, progress: float, share: float
) -> None:
    model, x = weighted_model(4, annealing=annealing), some_images(few_digits(), 5)
    model.beta, model.done.share = beta, progress
    terms, pixels, prior, posterior = terms_and_draws(model, x)
    written = math.log(4) - (pixels + beta * share * (prior - posterior)).logsumexp(0).mean()
    torch.testing.assert_close(terms["loss"], written, rtol=1e-5, atol=1e-4)
    assert_same_gradients(model, terms["loss"], written)


def linear_model() -> tuple[Autoencoder, Tensor, float]:
    """A linear-Gaussian model with an encoder that ignores the image, images of it and their mean log-likelihood."""
    model = linear_autoencoder(SCALE)
    decoder = model.backbone.decoder[0]
    with torch.no_grad():
        decoder.weight.normal_()
        model.head.weight.zero_()
        model.head.bias.zero_()
    marginal = MultivariateNormal(decoder.bias, decoder.weight @ decoder.weight.T + SCALE**2 * torch.eye(6))
    x = marginal.sample((5,)).detach()
    return model, x.reshape(5, 1, 1, 6), marginal.log_prob(x).mean().item()


@torch.no_grad()
def test_the_bound_grows_with_the_number_of_draws_to_the_exact_marginal() -> None:
    model, x, exact = linear_model()
    means, errors = [], []
    for samples, at_once, times in [(1, 60, 50), (2, 60, 50), (5, 40, 50), (20, 20, 50), (200, 4, 50), (20_000, 1, 10)]:
        model.objective = part_of("objective", "importance_weighted", samples=samples)
        many = x.repeat(at_once, 1, 1, 1)
        losses = torch.stack([model.terms(many)[0]["loss"] for _ in range(times)])
        means.append(-losses.mean().item())
        errors.append(losses.std().item() / times**0.5)
    for before, after, error in zip(means, means[1:], errors, strict=False):
        assert after > before + 3 * error, "each step is beyond the noise"
    assert all(mean < exact + 5 * error for mean, error in zip(means, errors, strict=True)), "a lower bound"
    assert means[-1] == pytest.approx(exact, abs=5 * errors[-1] + 0.01)


@torch.no_grad()
def test_with_the_true_posterior_the_bound_is_exact_whatever_the_number_of_draws() -> None:
    model, x, _ = linear_model()
    decoder = model.backbone.decoder[0]
    decoder.weight.copy_(torch.linalg.qr(decoder.weight)[0])  # orthogonal: a diagonal posterior
    model.head.weight[:2] = decoder.weight.T / (1 + SCALE**2)
    model.head.bias[:2] = -decoder.weight.T @ decoder.bias / (1 + SCALE**2)
    model.head.bias[2:] = math.log(SCALE / (1 + SCALE**2) ** 0.5)
    marginal = MultivariateNormal(decoder.bias, decoder.weight @ decoder.weight.T + SCALE**2 * torch.eye(6))
    for samples in (1, 3, 50):
        model.objective = part_of("objective", "importance_weighted", samples=samples)
        exact = marginal.log_prob(x.flatten(1)).mean()
        torch.testing.assert_close(-model.terms(x)[0]["loss"], exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", options("regularizer"))
def test_only_the_plain_kl_divergence_goes_with_the_bound(option: str) -> None:
    if option == "kl":
        assert autoencoder(few_digits(), regularizer="kl", objective="importance_weighted").objective.samples == 50
        return
    posterior = "dirac" if option == "none" else "gaussian"
    with pytest.raises(Refused, match="importance-weighted bound") as refused:
        autoencoder(few_digits(), posterior=posterior, regularizer=option, objective="importance_weighted")
    assert ("with free bits" in str(refused.value)) == (option == "free_bits")
    assert "regularizer=kl" in str(refused.value)


@pytest.mark.parametrize("option", options("annealing"))
def test_only_annealings_that_are_a_weight_go_with_the_bound(option: str) -> None:
    if option != "capacity":
        autoencoder(few_digits(), annealing=option, objective="importance_weighted")
        return
    with pytest.raises(Refused, match="annealing=constant"):
        autoencoder(few_digits(), annealing=option, objective="importance_weighted")


def made_of(annealing: str, r: float, progress: float) -> float:
    """What conf/annealing makes of R, written out."""
    if annealing == "capacity":  # 25 nats at the end
        return abs(r - 25 * progress)
    if annealing == "warmup":  # within a quarter of the training
        return r * (4 * progress if progress < 0.25 else 1)
    if annealing == "cyclical":  # four cycles; each grows for half of its time
        within = 4 * progress - math.floor(4 * progress)
        return r * (2 * within if within < 0.5 else 1)
    assert annealing == "constant"
    return r


@pytest.mark.parametrize("option", options("annealing"))
def test_an_annealing_is_what_its_paper_says_at_every_point_of_the_training(option: str) -> None:
    annealing: Annealing = part_of("annealing", option)
    for step in range(401):
        progress = step / 400
        # At the very end, where no batch is, a cycle would begin anew.
        made = annealing(torch.tensor([0.0, 3.0, 40.0]), annealing.number(progress)).tolist()
        assert made == pytest.approx([made_of(option, r, progress) for r in (0.0, 3.0, 40.0)], abs=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_shares_and_cycles_stretch_a_schedule(share: float) -> None:
    r = torch.tensor(10.0)
    for progress in (0.0, 0.03, 0.1, 0.3, 0.7, 0.99):
        grown = min(1.0, progress / share)
        warmup = part_of("annealing", "warmup", share=share)
        assert warmup(r, warmup.number(progress)).item() == pytest.approx(10 * grown)
        capacity = part_of("annealing", "capacity", nats=15.0, share=share)
        assert capacity(r, capacity.number(progress)).item() == pytest.approx(abs(10 - 15 * grown), abs=1e-5)
        for cycles in (1, 3):
            grown = min(1.0, (cycles * progress) % 1 / share)
            cyclical = part_of("annealing", "cyclical", cycles=cycles, share=share)
            assert cyclical(r, cyclical.number(progress)).item() == pytest.approx(10 * grown, abs=1e-5)


FAST = ("logger=none", "trainer.max_epochs=4", "backbone=linear", "beta=2.5")


@pytest.mark.parametrize(
    ("annealing", "regularizer"),
    [(annealing, "kl") for annealing in options("annealing")] + [("warmup", "adversarial"), ("cyclical", "factor")],
)
def test_the_loss_follows_the_annealing_from_the_first_batch_of_a_training_to_its_last(
    annealing: str, regularizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(composed(*FAST, f"annealing={annealing}"))
    config.regularizer = OmegaConf.create(plain("regularizer", regularizer))
    torch.manual_seed(0)
    model: Any = build_model(config, few_digits())  # 40 images in batches of 16: three an epoch
    seen: list[tuple[float, dict[str, Tensor]]] = []
    accumulate = Autoencoder.accumulate_terms

    def spy(self: Autoencoder, stage: str, terms: dict[str, Tensor], n: int) -> None:
        if stage == "train":
            seen.append((self.done.share, terms))
        accumulate(self, stage, terms, n)

    monkeypatch.setattr(Autoencoder, "accumulate_terms", spy)
    fit(config, model, few_digits(), tmp_path)
    assert [share for share, _ in seen] == pytest.approx([batch / 12 for batch in range(12)])
    for share, terms in seen:
        written = terms["distortion"] + 2.5 * made_of(annealing, terms["regularizer"].item(), share)
        torch.testing.assert_close(terms["loss"], written, rtol=1e-5, atol=1e-4)

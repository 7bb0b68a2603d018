"""Vector-quantized codes against loops over entries and their losses, written out."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import autoencoder, part_of

SHAPE = (1, 2, 2)


def quantized(n: int = 60) -> tuple[nn.Module, Tensor, Distribution]:
    """A posterior of 3 groups of 10 entries of 8 numbers, what an encoder says, and q."""
    posterior = part_of("posterior", "vector_quantized", latent_size=3, coordinates=3)
    nn.init.normal_(posterior.codebook)
    raw = torch.randn(n, 24, requires_grad=True)
    return posterior, raw, posterior(raw)


def nearest(raw: Tensor, codebook: Tensor) -> list[list[int]]:
    """By a double loop."""
    vectors, codebook = raw.detach().reshape(len(raw), 3, 8), codebook.detach()
    return [
        [min(range(10), key=lambda k: float((vectors[b, g] - codebook[g, k]).square().sum())) for g in range(3)]
        for b in range(len(raw))
    ]


def test_a_quantized_code_is_the_nearest_entry_of_each_groups_codebook() -> None:
    posterior, raw, q = quantized()
    classes = nearest(raw, posterior.codebook)
    assert q.classes.tolist() == classes
    known = torch.stack([torch.cat([posterior.codebook[g, k] for g, k in enumerate(row)]) for row in classes])
    assert torch.equal(q.rsample(), known)
    assert torch.equal(posterior.point_estimate(q), known)
    assert len({k for row in classes for k in row}) == 10, "all entries are somebody's nearest"


def test_a_quantized_code_hands_the_decoders_gradient_to_the_encoder_and_none_to_the_codebook() -> None:
    posterior, raw, q = quantized()
    z = q.rsample((1,))[0]
    decoder = nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 4))
    loss = decoder(z).square().sum()
    at_decoder, at_encoder = torch.autograd.grad(loss, [z, raw], retain_graph=True)
    assert torch.equal(at_decoder, at_encoder)
    assert at_encoder.any()
    assert torch.autograd.grad(loss, posterior.codebook, allow_unused=True) == (None,)


def test_the_loss_of_a_codebook_pulls_entries_to_vectors_and_vectors_by_a_quarter_to_entries() -> None:
    posterior, raw, q = quantized()
    chosen = torch.stack([torch.cat([posterior.codebook[g, k] for g, k in enumerate(row)]) for row in
                          nearest(raw, posterior.codebook)])  # fmt: skip
    written = ((raw.detach() - chosen).square().sum() + 0.25 * (raw - chosen.detach()).square().sum()) / (60 * 3)
    made = posterior.auxiliary_loss(q)
    torch.testing.assert_close(made, written)
    for weight in (raw, posterior.codebook):
        one, other = (torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (made, written))
        torch.testing.assert_close(one, other)
        assert one.any()
    pulls = torch.autograd.grad(made, raw)[0]
    torch.testing.assert_close(pulls, 0.25 * 2 * (raw - chosen).detach() / (60 * 3))


def test_the_loss_of_a_codebook_is_added_to_the_models_whatever_beta() -> None:
    data = few_digits()
    model = autoencoder(data, posterior="vector_quantized", prior="categorical", regularizer="none")
    model.beta = 7.0
    x = some_images(data)
    terms, given = model.terms(x)
    own = model.posterior.auxiliary_loss(given.q)
    torch.testing.assert_close(terms["posterior_loss"], own)
    torch.testing.assert_close(terms["loss"], terms["distortion"] + own)
    assert own > 0


def test_the_rate_of_a_quantized_code_is_that_of_its_words() -> None:
    posterior, _, q = quantized()
    prior = part_of("prior", "categorical", latent_size=3, shape=SHAPE, classes=10)
    assert kl_divergence(q, posterior.adapt_prior(prior(None))).tolist() == pytest.approx([3 * math.log(10)] * 60)
    uneven = prior(None)
    uneven.log_probs = torch.randn(3, 10).log_softmax(-1)
    known = [-sum(uneven.log_probs[g, k].item() for g, k in enumerate(row)) for row in q.classes.tolist()]
    assert kl_divergence(q, posterior.adapt_prior(uneven)).tolist() == pytest.approx(known)


def test_draws_of_the_prior_of_quantized_codes_are_entries_of_each_groups_codebook() -> None:
    posterior, _, _ = quantized()
    p = posterior.adapt_prior(part_of("prior", "categorical", latent_size=3, shape=SHAPE, classes=10)(None))
    draws, codebook = p.sample((3000,)).reshape(3000, 3, 8), posterior.codebook.detach()
    for g in range(3):
        distances = (draws[:, g, None] - codebook[g]).square().sum(2)
        assert not distances.min(1).values.any()
        counts = distances.argmin(1).bincount(minlength=10)
        assert (counts - 300).abs().max() < 6 * 300**0.5, "all entries are alike"

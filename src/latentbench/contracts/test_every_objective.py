"""An objective makes a loss of likelihoods and of a regularizer, or says what would fit."""

import itertools
import re

import pytest
import torch

from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import autoencoder, options, part_of, refusal_of
from latentbench.errors import Refused
from latentbench.models.autoencoder import Autoencoder

DATA = few_digits()
GROUPS = ("objective", "annealing", "regularizer")


def model(**chosen: str) -> Autoencoder:
    made = autoencoder(DATA, **chosen)
    made.done.share = 0.3
    return made


def refusal(**chosen: str) -> str | None:
    """What is said against a choice."""
    try:
        autoencoder(DATA, **chosen)
    except Refused as refused:
        return str(refused)
    return None


def leads_to_what_fits(chosen: dict[str, str], changes: int) -> bool:
    """Whether following what is advised ends well within so many changes."""
    message = refusal(**chosen)
    if message is None or changes == 0:
        return message is None
    advised = [(group, option) for group, option in re.findall(r"\b(\w+)=(\w+)", message) if group in GROUPS]
    return any(leads_to_what_fits(chosen | {group: option}, changes - 1) for group, option in advised)


def assert_learns(made: Autoencoder) -> None:
    """Finite terms, and finite gradients, not all of them 0, at all but a critic."""
    terms, _ = made.terms(some_images(DATA))
    assert {"loss", "distortion", "regularizer"} <= terms.keys()
    for name, term in terms.items():
        assert term.shape == (), name
        assert term.isfinite(), name
    terms["loss"].backward()
    critics = {id(weight) for weight in made.regularizer.parameters()}
    for name, weight in made.named_parameters():
        if id(weight) in critics:
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.any(), name


def test_a_capacity_is_for_a_rate_alone() -> None:
    message = refusal(annealing="capacity", regularizer="mmd")
    assert message is not None
    assert "nats" in message


@pytest.mark.parametrize(("objective", "annealing"), list(itertools.product(*map(options, GROUPS[:2]))))
def test_it_trains_with_every_annealing_and_regularizer_or_names_what_would_fit(objective: str, annealing: str) -> None:
    for regularizer in options("regularizer"):
        chosen = {"objective": objective, "annealing": annealing, "regularizer": regularizer}
        message = refusal(**chosen)
        if message is None:
            assert_learns(model(**chosen))
        else:
            assert leads_to_what_fits(chosen, changes=2), message


PAIRS = [
    (posterior, prior)
    for posterior, prior in itertools.product(options("posterior"), options("prior"))
    if not refusal_of(posterior, prior, "kl")
]


@pytest.mark.parametrize("objective", options("objective"))
@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_it_takes_every_pair_that_has_a_divergence(posterior: str, prior: str, objective: str) -> None:
    assert_learns(model(objective=objective, posterior=posterior, prior=prior))


@pytest.mark.parametrize("objective", options("objective"))
def test_it_is_given_as_many_draws_as_it_asks_for(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(objective=objective)
    seen = []

    def decode(z: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return made.backbone.decoder(z)

    monkeypatch.setattr(made.backbone, "decode", decode)
    made.terms(some_images(DATA, 5))
    (z,) = seen
    assert part_of("objective", objective).samples == made.objective.samples
    assert z.shape == (5 * made.objective.samples, 3)
    assert len(z.unique(dim=0)) == len(z), "no two of them alike"


@pytest.mark.parametrize("objective", options("objective"))
def test_without_a_regularizer_its_loss_is_the_distortion_or_a_tighter_bound(objective: str) -> None:
    losses = []
    for beta in (0.0, 1.0, 10.0):
        made = model(objective=objective)
        made.beta = beta
        torch.manual_seed(0)
        terms, _ = made.terms(some_images(DATA))
        losses.append(terms["loss"].item())
        if beta == 0 and made.objective.samples == 1:
            torch.testing.assert_close(terms["loss"], terms["distortion"])
        elif beta == 0:
            assert terms["loss"] < terms["distortion"]
    assert len(set(losses)) == 3, "beta weighs something"


@pytest.mark.parametrize("objective", options("objective"))
def test_draws_that_are_all_alike_count_as_one(objective: str) -> None:
    made, x = model(objective=objective), some_images(DATA)
    _, latents = made.terms(x)
    terms = made.objective.terms(
        log_likelihood=torch.full((made.objective.samples, len(x)), -3.0),
        z=latents.q.rsample((made.objective.samples,)),
        latents=latents,
        regularizer=made.regularizer,
        weigh=lambda regularization: 0 * regularization,
    )
    assert terms["loss"].item() == pytest.approx(3.0, rel=1e-5)
    assert terms["distortion"].item() == pytest.approx(3.0, rel=1e-5)

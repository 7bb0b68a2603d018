"""The whole product of regularizers, posteriors and priors: each trains all it owns, or says what would fit."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from latentbench.errors import Refused
from latentbench.models.autoencoder import Autoencoder
from latentbench.posteriors.dirac import Dirac
from latentbench.regularizers.base import Latents, Regularizer
from options import few_digits, options, part_of, some_images

SHAPE = (1, 8, 8)
GROUPS = ("posterior", "prior", "regularizer")
PAIRINGS = list(itertools.product(*map(options, GROUPS)))


def paired(**choice: str) -> Autoencoder:
    """A small autoencoder of the given parts. Raises: Refused."""
    torch.manual_seed(0)
    backbone = part_of("backbone", "mlp", shape=SHAPE, latent_size=4, hidden=[16])
    model: Autoencoder = part_of(
        "model",
        "autoencoder",
        backbone=backbone,
        posterior=part_of("posterior", choice["posterior"], features=backbone.features, latent_size=4),
        prior=part_of("prior", choice["prior"], shape=SHAPE, latent_size=4),
        regularizer=part_of("regularizer", choice["regularizer"], latent_size=4),
        likelihood=part_of("likelihood", "gaussian"),
    )
    return model


def advice(message: str) -> Iterator[tuple[str, str]]:
    """The options that a message names, as in `take prior=normal, laplace or mixture`."""
    group = ""
    for word in message.split():
        named, is_setting, option = word.strip(".,:;()").rpartition("=")
        if is_setting:
            group = named
        if group and option != "or":
            if option not in options(group):
                assert not is_setting, f"{word} is no option"
                group = ""
                continue
            yield group, option


def builds(choice: dict[str, str]) -> bool:
    try:
        paired(**choice)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("pairing", PAIRINGS, ids="-".join)
def test_it_trains_every_parameter_with_the_loss_meant_for_it_or_names_what_would_fit(
    pairing: tuple[str, ...],
) -> None:
    choice = dict(zip(GROUPS, pairing, strict=True))
    try:
        model = paired(**choice)
    except Refused as refusal:
        named = list(advice(str(refusal)))
        assert named, "the message names options"
        assert any(builds(choice | {group: option}) for group, option in named), "one of them is all it takes"
        return

    terms, latents = model.terms(some_images(few_digits()))
    critic = {f"regularizer.{name}" for name, _ in model.regularizer.named_parameters()}
    terms["loss"].backward()
    assert all(term.isfinite() for term in terms.values())
    assert_gradients_reach(set(dict(model.named_parameters())) - critic, model)

    model.zero_grad()
    critic_loss = model.regularizer.critic_loss(latents)
    assert (critic_loss is not None) == bool(critic)
    if critic_loss is not None:
        critic_loss.backward()
    assert_gradients_reach(critic, model)


def owned(optimizer: torch.optim.Optimizer) -> list[int]:
    return [id(weight) for group in optimizer.param_groups for weight in group["params"]]


def assert_gradients_reach(names: set[str], model: Autoencoder) -> None:
    """Finite gradients, not all of them 0, at the named parameters and at no other."""
    for name, parameter in model.named_parameters():
        if name in names:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("pairing", PAIRINGS, ids="-".join)
def test_each_parameter_has_one_optimizer_and_the_critics_are_apart(pairing: tuple[str, ...]) -> None:
    choice = dict(zip(GROUPS, pairing, strict=True))
    if not builds(choice):
        return
    model = paired(**choice)
    critic = {id(weight) for weight in model.regularizer.parameters()}
    owners = [owned(optimizer) for optimizer in model.configure_optimizers()]
    assert sorted(weight for weights in owners for weight in weights) == sorted(map(id, model.parameters()))
    assert owners[1:] == ([list(map(id, model.regularizer.parameters()))] if critic else [])


def latents_shifted_by(shift: float, regularizer: Regularizer, n: int = 500) -> Latents:
    """Codes of n images that are draws of a standard normal prior, but for a shift."""
    prior = part_of("prior", "normal", latent_size=2, shape=(1, 8, 8))
    gaussian = part_of("posterior", "gaussian", features=1, latent_size=2)
    decode = part_of("backbone", "linear", shape=(1, 8, 8), latent_size=2).decode
    mean = torch.full((n, 2), shift, requires_grad=True)
    spread = Normal(mean, torch.ones(n, 2))
    takes_gaussian = regularizer.refuses(posterior=gaussian, prior=prior) is None
    q = Independent(spread, 1) if takes_gaussian else Dirac(spread.rsample())
    return Latents(x=torch.rand(n, 1, 8, 8), z=q.rsample(), q=q, p=prior(None), decode=decode)


def divergence(regularizer: Regularizer, shift: float) -> Tensor:
    """R of shifted codes, after its critic had a while to look at such codes."""
    critic = list(regularizer.parameters())
    if critic:
        optimizer = torch.optim.Adam(critic, lr=1e-3)
        for _ in range(50):
            loss = regularizer.critic_loss(latents_shifted_by(shift, regularizer, n=100))
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    r: Tensor = regularizer(latents_shifted_by(shift, regularizer))
    return r


@pytest.mark.parametrize("option", options("regularizer"))
def test_r_grows_as_the_codes_move_away_from_the_prior(option: str) -> None:
    made = [divergence(part_of("regularizer", option, latent_size=2), shift) for shift in (0.0, 1.0, 3.0)]
    assert all(r.shape == () for r in made)
    if made[0].requires_grad:
        # A tenth of the growth to the far shift: the noise of 500 draws is far below it.
        margin = 0.1 * (made[2] - made[0])
        assert margin > 0
        assert made[0] + margin < made[1] < made[2] - margin
    else:
        assert made[0] == made[1] == made[2] == 0, "what asks nothing of the codes is 0"

"""The whole product of posteriors, priors and regularizers: each trains all it owns, or says what would fit."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple, get_args

import pytest
import torch
from torch import Tensor

from latentbench.configuration.catalogue import own_options
from latentbench.contracts import CHECKED
from latentbench.contracts.images import few_digits, some_images
from latentbench.contracts.options import autoencoder, composed, options, plain, refusal_of
from latentbench.errors import Refused, UserError
from latentbench.evaluation.build import build_model
from latentbench.evaluation.part_checks import check_model_at_first_use
from latentbench.models.autoencoder import Autoencoder
from latentbench.models.base import Ability
from latentbench.running.train import build_recipe

DATA = few_digits()
SIZE = 3
STEPS = 3
MOST_CHANGES = 3  # of one option each, until what was refused fits
GROUPS = ("posterior", "prior", "regularizer")
PAIRS = list(itertools.product(options("posterior"), options("prior")))


class Choice(NamedTuple):
    """An option of each group, and settings of the regularizer's that differ from its YAML's."""

    posterior: str
    prior: str
    regularizer: str
    settings: tuple[tuple[str, int], ...] = ()

    def changed(self, key: str, value: str) -> "Choice":
        """With an option, or with a setting of the regularizer, as in `regularizer.free_bits=0`."""
        if key == "regularizer":
            return self._replace(regularizer=value, settings=())
        if key in self._fields:
            return self._replace(**{key: value})
        group, setting = key.split(".")
        assert group == "regularizer", key
        assert setting in plain(group, self.regularizer), key
        return self._replace(settings=((setting, int(value)),))


def refusal(choice: Choice) -> str | None:
    """Why a choice is refused."""
    return refusal_of(*choice)


def advice(message: str) -> Iterator[tuple[str, str]]:
    """What a message tells to set, as in `take prior=normal, laplace or mixture, or regularizer.free_bits=0`."""
    key = ""
    for word in message.split():
        named, is_setting, value = word.strip(".,:;()").rpartition("=")
        key = named if is_setting else key
        if not key or value in ("or", "and"):
            continue
        if "." in key:
            yield key, value
            key = ""
        elif value in {*options(key), *own_options(key)}:
            yield key, value
        else:
            assert not is_setting, f"{word} is no option"
            key = ""


def changes_to_fit(choice: Choice, most: int = MOST_CHANGES) -> float:
    """The fewest changes, each following the advice given, that lead to what is not refused."""
    seen, now = {choice}, [choice]
    for changes in range(most + 1):
        if any(refusal(one) is None for one in now):
            return changes
        advised = {one.changed(*change) for one in now for change in advice(str(refusal(one)))}
        now = list(advised - seen)
        seen |= advised
    return float("inf")


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_a_refusal_names_options_that_lead_to_what_fits(posterior: str, prior: str) -> None:
    refused = [Choice(posterior, prior, regularizer) for regularizer in options("regularizer")]
    refused = [choice for choice in refused if refusal(choice)]
    for choice in refused:
        message = str(refusal(choice))
        assert "\n" not in message
        assert re.search(r": (take|set) [^:]+$", message), message
        named = list(advice(message))
        assert named, message
        assert all(changes_to_fit(choice.changed(*change)) < MOST_CHANGES for change in named), message
        if " and " not in message.rpartition("take")[2]:
            assert all(choice.changed(*change) != choice for change in named), f"{message}: that is there already"
        assert changes_to_fit(choice) <= MOST_CHANGES - 1, message
    if refused:
        with pytest.raises(Refused, match=f"^{re.escape(str(refusal(refused[0])))}$"):
            autoencoder(DATA, latent_size=SIZE, **dict(zip(GROUPS, refused[0], strict=False)))


def test_classes_that_differ_are_refused_with_the_setting_that_makes_them_agree() -> None:
    chosen = ("posterior=categorical", "prior=categorical", "posterior.classes=5")
    with pytest.raises(Refused, match=r"set prior.classes alone \(prior=categorical prior.classes=5\)"):
        build_model(composed(*chosen), DATA)
    build_model(composed(*chosen[:2], "prior.classes=5"), DATA)


def backward(model: Autoencoder, loss: Tensor) -> None:
    model.zero_grad()
    loss.backward()


def assert_trains(model: Autoencoder, x: Tensor) -> None:
    """Every parameter moves by the gradients of its own loss and has none of the other."""
    weights = dict(model.named_parameters())
    critics = {f"regularizer.{name}" for name, _ in model.regularizer.named_parameters()}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    model.recipe = build_recipe(composed())
    main, *of_critic = model.configure_optimizers()
    owners = [[id(weight) for group in one.param_groups for weight in group["params"]] for one in (main, *of_critic)]
    assert sorted(itertools.chain(*owners)) == sorted(map(id, weights.values())), "one optimizer for each parameter"
    assert owners[1:] == [[id(weights[name]) for name in weights if name in critics]] * bool(critics)
    reached = set()
    for step in range(STEPS):
        model.done.share = (step + 1) / STEPS
        terms, latents = model.terms(x)
        assert all(term.isfinite() and term.shape == () for term in terms.values()), terms
        critic_loss = model.regularizer.critic_loss(latents)
        assert (critic_loss is not None) == bool(critics)
        losses = [(main, terms["loss"], weights.keys() - critics)]
        if critic_loss is not None:
            losses.append((*of_critic, critic_loss, critics))
        for optimizer, loss, owned in losses:
            backward(model, loss)
            for name, weight in weights.items():
                assert (weight.grad is not None) == (name in owned), name
                assert weight.grad is None or weight.grad.isfinite().all(), name
            # Over all steps: a unit may be dead in one of them, a codebook's entry far from every vector.
            reached |= {name for name in owned if weights[name].grad.any()}  # type: ignore[union-attr]
            optimizer.step()
        if reached == weights.keys():
            break
    assert not weights.keys() - reached, "without gradients"
    assert not [name for name, weight in weights.items() if torch.equal(weight, before[name])], "unmoved"


def assert_takes(model: Autoencoder, x: Tensor, what: str) -> None:
    """Losses and gradients of a batch are finite."""
    terms, latents = model.terms(x)
    for loss in (terms["loss"], model.regularizer.critic_loss(latents)):
        if loss is not None:
            assert loss.isfinite(), what
            backward(model, loss)
            gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
            assert torch.cat(gradients).isfinite().all(), what


@torch.no_grad()
def assert_validates(model: Autoencoder, x: Tensor) -> None:
    """The terms of a validation are finite."""
    terms, _ = model.terms(x)
    assert all(term.isfinite() for term in terms.values()), terms


@torch.no_grad()
def assert_evaluates(model: Autoencoder, x: Tensor) -> None:
    """What the model does not say that it lacks are numbers."""
    images = model.reconstruct(x)
    assert images.shape == x.shape
    assert 0 <= images.min() <= images.max() <= 1
    q, p = model.posterior_distribution(x), model.prior_distribution()
    assert model.decode(p.sample((3,))).isfinite().all()
    z = q.sample((4,))
    abilities = [ability for ability in get_args(Ability) if model.cannot(ability, binary=False) is None]
    log_likelihood = model.pixel_log_prob(x, z)
    assert log_likelihood.shape == (4, len(x))
    assert log_likelihood.isfinite().all()
    if "rate" in abilities:
        assert model.facts()["kl"] in ("closed form", "Monte Carlo")
        rate = model.kl_per_image(q, z)
        assert rate.shape == x.shape[:1]
        assert rate.isfinite().all()
    if "log_likelihood" in abilities:
        bound = (log_likelihood + p.log_prob(z) - q.log_prob(z)).logsumexp(0)
        assert bound.shape == x.shape[:1]
        assert not bound.isnan().any()
        assert (bound < torch.inf).all()


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_what_is_not_refused_trains_every_parameter_and_takes_any_batch(posterior: str, prior: str) -> None:
    images = some_images(DATA)
    white = torch.ones_like(images)
    # Images all alike have one code: what regularizers could fail at, as at a batch of one image.
    batches = {"one image": images[:1], "black": torch.zeros_like(images)}
    failures: list[str] = []
    fitting = [one for one in options("regularizer") if not refusal(Choice(posterior, prior, one))]
    for regularizer in fitting:
        model = autoencoder(DATA, latent_size=SIZE, posterior=posterior, prior=prior, regularizer=regularizer)
        check_model_at_first_use(model, DATA.shape)
        try:
            assert_trains(model, images)
            for what, x in batches.items():
                assert_takes(model, x, what)
            assert_validates(model, images)
            if regularizer == fitting[0]:  # no regularizer has a part in these
                assert_takes(model, white, "white")
                assert_evaluates(model, images)
        except (AssertionError, RuntimeError, UserError) as error:
            failures.append(f"{regularizer}: {error}".splitlines()[0])
    assert not failures


@pytest.mark.parametrize("posterior", options("posterior"))
def test_latents_have_single_precision_though_the_networks_have_half(posterior: str) -> None:
    prior = next(prior for prior in own_options("prior") if refusal(Choice(posterior, prior, "none")) is None)
    model = autoencoder(DATA, latent_size=SIZE, posterior=posterior, prior=prior, regularizer="none")
    seen: list[Tensor] = []
    model.posterior.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        _, latents = model.terms(some_images(DATA))
    (raw,) = seen
    assert raw.dtype == torch.float32
    torch.manual_seed(1)
    assert torch.equal(model.posterior(raw).rsample(), latents.z)


def test_every_option_fits_something() -> None:
    choices = itertools.starmap(Choice, itertools.product(*map(options, GROUPS)))
    fitting = [choice for choice in choices if refusal(choice) is None]
    for group in CHECKED.keys() & set(GROUPS) or GROUPS:
        assert {getattr(choice, group) for choice in fitting} == set(options(group))

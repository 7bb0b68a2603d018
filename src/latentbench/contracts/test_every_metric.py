"""A metric measures what it declares, of any model, or says why not."""

import functools
import itertools
import math
from collections.abc import Sequence

import pytest
import torch

from latentbench.configuration.catalogue import own_options
from latentbench.contracts.images import few_digits, noise_images
from latentbench.contracts.options import brief_metric, brief_sampler, composed, options, part_of, untrained
from latentbench.data.base import ImageData
from latentbench.evaluation.evaluate import evaluate
from latentbench.metrics.base import ModelMetric
from latentbench.metrics.class_share import OTHER_CLASSES
from latentbench.metrics.inputs import INTERPOLATION, REAL, RECONSTRUCTION
from latentbench.metrics.measurements import Quantity
from latentbench.records.measuring import Evaluation

PARTS = ("model", "posterior", "prior")
# One method of each kind that a metric could tell apart.
CHOICES = {method: composed(f"method={method}").hydra.runtime.choices for method in options("method")}
KINDS = list({tuple(chosen[part] for part in PARTS): method for method, chosen in CHOICES.items()}.values())
PLACES = {REAL, RECONSTRUCTION, INTERPOLATION, OTHER_CLASSES, "test", *options("sampler")}


@functools.cache
def quantities_of(option: str) -> dict[str, Quantity]:
    quantities: dict[str, Quantity] = brief_metric(option).quantities
    return quantities


def measured(
    method: str, likelihood: str, binarize: str, metrics: Sequence[str], samplers: Sequence[str]
) -> Evaluation:
    """What an untrained model of digits gives."""
    return measured_on(few_digits(binarize=binarize), "classifier", method, likelihood, metrics, samplers)


def measured_on(
    data: ImageData, features: str, method: str, likelihood: str, metrics: Sequence[str], samplers: Sequence[str]
) -> Evaluation:
    """What an untrained model gives."""
    return evaluate(
        model=untrained(data, f"method={method}", f"likelihood={likelihood}"),
        data=data,
        samplers={name: brief_sampler(name, steps=5) for name in samplers},
        features={features: part_of("features", features, data_name=data.name, shape=data.shape)},
        metrics={name: brief_metric(name) for name in metrics},
        seed=0,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("option", options("metric"))
def test_its_quantities_have_units_and_a_direction(option: str) -> None:
    quantities = quantities_of(option)
    assert quantities
    for name, quantity in quantities.items():
        assert isinstance(quantity, Quantity)
        assert isinstance(quantity.units, str)
        assert quantity.higher_is_better in (True, False, None)
        assert "/" not in name


def test_no_two_metrics_give_the_same_quantity() -> None:
    named = [name for option in options("metric") for name in quantities_of(option)]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("option", options("metric"))
def test_it_says_in_its_docstring_what_each_of_its_keys_is_called(option: str) -> None:
    made = brief_metric(option)
    for name in made.quantities:
        assert f"`{name}/" in (type(made).__doc__ or "")


OF_MODELS = [option for option in options("metric") if isinstance(brief_metric(option), ModelMetric)]
GREY, BINARY = ("gaussian", "none"), ("bernoulli", "dynamic")
DEFAULT, LEVELS = ("continuous_bernoulli", "none"), ("logistic_mixture", "none")
PIXELS = list(itertools.product(options("likelihood"), ("none", "dynamic")))
# Every likelihood with one method, one of each kind with every method.
CASES = [
    case for case in itertools.product(KINDS, PIXELS) if case[0] == "vae" or case[1] in (GREY, BINARY, DEFAULT, LEVELS)
]


def measured_with(method: str, pixels: tuple[str, str]) -> tuple[Sequence[str], Sequence[str]]:
    """The metrics and samplers of a case: all of them where the case could make a difference to them.

    The latents that samplers are fitted to do not depend on pixels, and images of sets do not tell whether their
    likelihood is of the other kind of pixels.
    """
    samplers = options("sampler") if pixels == GREY else ["prior"]
    return options("metric") if method == "vae" or pixels == GREY else OF_MODELS, samplers


@pytest.mark.parametrize(("method", "pixels"), CASES)
def test_every_quantity_of_every_set_is_a_finite_number_or_has_a_reason(method: str, pixels: tuple[str, str]) -> None:
    metrics, samplers = measured_with(method, pixels)
    made = measured(method, *pixels, metrics, samplers)
    quantities = {name for option in metrics for name in quantities_of(option)}
    keys = [*made.metrics, *made.skipped]
    assert len(set(keys)) == len(keys), "a number or a reason, not both"
    assert {key.split("/")[0] for key in keys} == quantities
    assert {key.split("/")[1] for key in keys} <= PLACES
    assert all(type(value) is float and math.isfinite(value) for value in made.metrics.values())
    assert {key.split("/")[0] for key in made.metrics.keys() - made.standard_errors.keys()} <= {"parzen_bandwidth"}
    assert all(math.isfinite(error) and error >= 0 for error in made.standard_errors.values())
    assert all(len(reason.split()) > 3 for reason in made.skipped.values())
    assert set(made.facts["metrics"]) == quantities
    # Each quantity of sets is there, or has a reason, for every sampler.
    of_sets = {key.split("/")[0] for key in keys if key.split("/")[1] in samplers}
    assert {f"{name}/{sampler}" for name, sampler in itertools.product(of_sets, samplers)} <= set(keys)


def measured_in_random_features(data: ImageData) -> tuple[set[str], Evaluation]:
    """What an untrained VAE gives, and the quantities that have a value."""
    made = measured_on(data, "random", "vae", "gaussian", options("metric"), ["prior"])
    return {key.split("/")[0] for key in made.metrics}, made


@functools.cache
def quantities_of_digits() -> set[str]:
    return measured_in_random_features(few_digits(20))[0]


@pytest.mark.parametrize("shape", [(1, 1, 5), (2, 8, 8), (3, 9, 4)])
def test_every_quantity_of_images_of_any_shape_is_a_finite_number_or_has_a_reason(shape: tuple[int, int, int]) -> None:
    found, made = measured_in_random_features(noise_images(shape, n=20))
    assert not made.failed
    needing_3x3 = quantities_of("sharpness").keys() | quantities_of("noise").keys()
    of_digits = quantities_of("class_share").keys()  # which have a classifier
    assert found == quantities_of_digits() - of_digits - (needing_3x3 if min(shape[1:]) < 3 else set())
    skipped = {key.split("/")[0] for key in made.skipped}
    assert found | skipped == {name for option in options("metric") for name in quantities_of(option)}


@functools.cache
def all_of_a_vae() -> Evaluation:
    return measured("vae", *GREY, options("metric"), ["prior", "gaussian"])


@pytest.mark.parametrize("option", options("metric"))
def test_its_numbers_are_the_same_alone_and_beside_the_others_and_after_itself(option: str) -> None:
    alone = measured("vae", *GREY, [option], ["prior", "gaussian"])
    beside = all_of_a_vae()
    assert alone.metrics.items() <= beside.metrics.items()
    assert set(alone.metrics) == {key for key in beside.metrics if key.split("/")[0] in quantities_of(option)}


def test_the_metrics_of_a_run_are_among_those_that_there_are() -> None:
    assert set(composed().metric) <= set(own_options("metric"))

"""What evaluate() gives depends on the model, the data and the seed, and on nothing that stands beside a number."""

import functools
from typing import Any

import numpy as np
import pytest
import torch

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import brief_metric, brief_sampler, options, part_of, untrained
from latentbench.evaluation.evaluate import FIGURE_IMAGES, evaluate
from latentbench.records.measuring import Evaluation

# `cmmd` has no number in these features.
METRICS = [option for option in options("metric") if option not in ("nll", "cmmd")]


def evaluated(
    samplers: list[str], metrics: list[str], *, method: str = "vae", binarize: str = "none", seed: int = 0
) -> Evaluation:
    data = few_digits(80, binarize)
    return evaluate(
        model=untrained(data, f"method={method}"),
        data=data,
        samplers={name: brief_sampler(name) for name in samplers},
        features={"classifier": part_of("features", "classifier", data_name="digits", shape=data.shape)},
        metrics={name: brief_metric(name) for name in metrics},
        seed=seed,
        device=torch.device("cpu"),
    )


@functools.cache
def of_all_samplers(method: str) -> Evaluation:
    return evaluated(options("sampler")[::-1], METRICS[::-1], method=method)


@pytest.mark.parametrize("method", ["vae", "gan"])
@pytest.mark.parametrize("sampler", options("sampler"))
def test_a_samplers_numbers_do_not_depend_on_the_others_nor_on_their_order(sampler: str, method: str) -> None:
    alone = evaluated([sampler], METRICS, method=method)
    beside = of_all_samplers(method)
    assert alone.metrics.items() <= beside.metrics.items()
    assert alone.skipped.items() <= beside.skipped.items()
    assert f"fid/{sampler}" in {**alone.metrics, **alone.skipped}


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before() -> None:
    one = evaluated(["prior", "gmm"], METRICS, binarize="dynamic")
    torch.randn(7)
    same, other = (evaluated(["prior", "gmm"], METRICS, binarize="dynamic", seed=seed) for seed in (0, 1))
    assert one.metrics == same.metrics
    assert all(np.array_equal(one.images[name], same.images[name]) for name in one.images)
    assert one.metrics["fid/prior"] != other.metrics["fid/prior"]
    assert one.metrics["fid/gmm"] != other.metrics["fid/gmm"]
    assert one.metrics["fid/real"] == other.metrics["fid/real"], "nothing is drawn for the floor"


def test_it_leaves_the_random_numbers_of_others_as_they_were() -> None:
    data = few_digits(80)
    parts: dict[str, Any] = {
        "model": untrained(data),
        "samplers": {name: brief_sampler(name) for name in options("sampler")},
        "features": {"classifier": part_of("features", "classifier", data_name="digits", shape=data.shape)},
        "metrics": {name: brief_metric(name) for name in METRICS},
    }
    before = torch.get_rng_state()
    evaluate(**parts, data=data, seed=0, device=torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_are_the_first_images_of_every_set_and_the_originals_of_the_reconstructions() -> None:
    data = few_digits(80)
    made = evaluated(["prior"], [])
    of_latents = {"codes", "labels", "shares", "traversal", "coordinates"}
    assert set(made.images) == {"prior", "real", "reconstruction", "interpolation", "original"} | of_latents
    for images in (made.images[key] for key in made.images.keys() - of_latents):
        assert images.shape == (FIGURE_IMAGES, *data.shape)
        assert images.dtype == np.uint8
    assert np.array_equal(made.images["original"], data.splits.images["validation"][:FIGURE_IMAGES].numpy())


def test_every_set_has_as_many_images_and_the_record_says_how_many_and_by_which_features() -> None:
    made = evaluated(["prior"], ["fid"])
    assert made.facts["images_per_set"] == made.facts["test_images"] == 80
    assert made.facts["features"] == {"classifier": "classifier_digits"}
    assert made.facts["metrics"]["fid"] == {"units": "", "higher_is_better": False}


def test_interpolations_are_decoded_half_way_between_neighbours_of_the_validation_images() -> None:
    data = few_digits(80)
    model: Any = untrained(data, "method=laplace_vae")  # whose straight lines are easily written out
    made = evaluate(
        model=model,
        data=data,
        samplers={},
        features={"classifier": part_of("features", "classifier", data_name="digits", shape=data.shape)},
        metrics={"sharpness": part_of("metric", "sharpness")},
        seed=0,
        device=torch.device("cpu"),
    )
    with torch.no_grad():
        codes = model.posterior_distribution(data.images("validation")).mean
        between = torch.stack([(codes[i] + codes[i - 1]) / 2 for i in range(80)])
        known = (model.decode(between[:FIGURE_IMAGES]) * 255).round().byte().numpy()
    assert np.abs(made.images["interpolation"].astype(int) - known).max() <= 1
    assert "sharpness/interpolation" in made.metrics


@pytest.mark.parametrize("method", ["categorical_vae", "vq_vae", "gan"])
def test_what_has_no_latent_between_two_has_no_interpolation(method: str) -> None:
    made = evaluated(["prior"], ["fid", "sharpness"], method=method)
    assert "interpolation" not in made.images
    assert made.skipped["fid/interpolation"] == made.skipped["sharpness/interpolation"]


@pytest.mark.parametrize("option", METRICS)
def test_images_that_are_no_numbers_are_counted_and_measured_by_nothing(option: str) -> None:
    data = few_digits(80)
    model: Any = untrained(data)
    images = model.decode
    model.decode = lambda z: images(z).where(z[:, :1, None, None] > 0, torch.nan)
    made = evaluate(
        model=model,
        data=data,
        samplers={"prior": part_of("sampler", "prior")},
        features={"classifier": part_of("features", "classifier", data_name="digits", shape=data.shape)},
        metrics={option: brief_metric(option)},
        seed=0,
        device=torch.device("cpu"),
    )
    broken = [reason for key, reason in made.skipped.items() if key.endswith("/prior")]
    assert all("of 80 images have pixels that are not finite numbers" in reason for reason in broken)
    assert not [key for key in made.metrics if key.endswith("/prior")]


def test_caveats_of_the_metric_of_its_features_and_of_noisy_data_stand_beside_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = few_digits()
    monkeypatch.setattr(data, "noise_caveat", "pixels were drawn once")
    made = evaluate(
        model=untrained(data),
        data=data,
        samplers={"prior": part_of("sampler", "prior")},
        features={"classifier": part_of("features", "random", data_name="digits", shape=data.shape)},
        metrics={name: part_of("metric", name) for name in ("fid", "sharpness", "rate")},
        seed=0,
        device=torch.device("cpu"),
    )
    of_metric, of_features, of_data = made.caveats["fid/prior"].split("; ")
    assert "the covariances are singular" in of_metric
    assert of_features.startswith("in random convolutions")
    assert of_data == made.caveats["sharpness/prior"] == "pixels were drawn once"
    assert "rate/test" in made.metrics
    assert "rate/test" not in made.caveats, "it compares no images"

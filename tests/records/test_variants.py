"""Runs have one name in W&B if they are the same but for the seed, and only then; the name says where they depart."""

from copy import deepcopy
from typing import Any

import pytest
from omegaconf import OmegaConf

from latentbench.cli.jobs import compose_jobs
from latentbench.configuration.catalogue import preset
from latentbench.records.wandb_keys import run_name, variant
from latentbench.running.job import resolve

Run = tuple[dict[str, Any], dict[str, Any]]  # its choices and its config


@pytest.fixture(scope="module")
def usual() -> Run:
    """The run of `latentbench`, whose settings are all defaults."""
    (job,) = compose_jobs([])
    run = resolve(job)
    return run.choices, OmegaConf.to_container(run.config, resolve=True)  # type: ignore[return-value]


def changed(run: Run, settings: dict[str, Any]) -> Run:
    """The run with other values of choices (`prior`) or of keys of the config (`model.learning_rate`)."""
    choices, config = deepcopy(run)
    for key, value in settings.items():
        *parents, leaf = key.split(".")
        holder = config
        for parent in parents:
            holder = holder[parent]
        if key in choices:
            choices[key] = value
        if parents or key in ("seed", "beta", "latent_size", "threads", "metric", "output_dir"):
            holder[leaf] = value
    if "metric" in settings:
        choices["metric"] = sorted(settings["metric"])
    return choices, config


def name(run: Run, method: str = "vae") -> str:
    return variant(*run, preset(method))


NLL = {"_target_": "latentbench.metrics.negative_log_likelihood.NegativeLogLikelihood", "flat_within": 0.05}


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 7},
        {"seed": 7, "output_dir": "elsewhere", "launcher": "local", "logger": "none", "study": "other"},
        {"metric": {}},
        {"metric": {"nll": NLL | {"samples": 1000}}},
        {"threads": 1.0},
        {"sampler.gmm": {"_target_": "latentbench.samplers.gaussian_mixture.GaussianMixtureSampler", "components": 10}},
    ],
)
def test_runs_that_differ_in_nothing_that_matters_have_one_name(usual: Run, settings: dict[str, Any]) -> None:
    assert name(changed(usual, settings)) == name(usual)


DEPARTURES: list[tuple[dict[str, Any], str]] = [
    ({"beta": 0.5}, "vae digits \N{GREEK SMALL LETTER BETA}=0.5 d=8"),
    ({"latent_size": 2}, "vae digits \N{GREEK SMALL LETTER BETA}=1 d=2"),
    ({"data": "mnist"}, "vae mnist"),
    ({"backbone": "conv"}, "vae backbone=conv digits"),
    ({"likelihood": "bernoulli"}, "vae likelihood=bernoulli digits"),
    ({"prior": "laplace", "posterior": "laplace"}, "vae posterior=laplace prior=laplace digits"),
    ({"trainer": "ddp"}, "vae trainer=ddp digits"),
    ({"model.learning_rate": 0.01}, "d=8 model.learning_rate=0.01 ("),
    ({"backbone.hidden": [16]}, "d=8 backbone.hidden=[16] ("),
    ({"regularizer.samples": 3}, "d=8 regularizer.samples=3 ("),
    ({"data.binarize": "dynamic", "trainer.max_epochs": 9}, "d=8 data.binarize=dynamic trainer.max_epochs=9 ("),
    ({"threads": 2}, "d=8 threads=2 ("),
    ({"features.classifier.weights": "mine"}, "d=8 features.classifier.weights=mine ("),
    ({"metric": {"nll": NLL | {"samples": 20}}}, "d=8 metric.nll.samples=20 ("),
    ({"metric": {"nll": NLL | {"samples": 5000}}}, "d=8 metric.nll.samples=5000 ("),
    ({"sampler.gmm.components": 3}, "d=8 sampler.gmm.components=3 ("),
    ({"prior._target_": "mine.Prior"}, "d=8 ("),
    ({"metric.nll._target_": "mine.NLL"}, "d=8 ("),
]


def test_a_name_says_how_a_run_departs_from_the_defaults(usual: Run) -> None:
    names = [name(changed(usual, settings)) for settings, _ in DEPARTURES]
    for made, (_, part) in zip(names, DEPARTURES, strict=True):
        assert part in made
        assert "_target_" not in made
        assert "mine.Prior" not in made
    assert len({name(usual), *names}) == len(names) + 1


def test_a_name_says_how_a_run_departs_from_its_preset(usual: Run) -> None:
    laplace = changed(usual, {"method": "laplace_vae", "posterior": "laplace", "prior": "laplace"})
    assert name(laplace, "laplace_vae").startswith("laplace_vae digits")
    normal = changed(laplace, {"prior": "normal"})
    assert name(normal, "laplace_vae").startswith("laplace_vae prior=normal digits")
    own = changed(usual, {"method": "one_of_my_own"})
    assert variant(*own, {}).startswith("one_of_my_own digits")


def test_a_part_that_a_model_lacks_is_not_named(usual: Run) -> None:
    gan = changed(
        usual,
        {"method": "gan", "model": "gan", "posterior": None, "regularizer": None, "likelihood": None, "beta": None},
    )
    assert name(gan, "gan").startswith("gan digits d=8")


def test_the_name_of_a_run_ends_with_its_seed(usual: Run) -> None:
    assert run_name(name(usual), 3) == f"{name(usual)} s3"

"""A method trains, with any backbone it may be given, on images of any size and with latents of any number."""

import copy
import inspect
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import own_options
from latentbench.configuration.identity import identity
from latentbench.configuration.search import Ranges, ranges_of, set_values, value_at
from latentbench.configuration.value_checks import check
from latentbench.contracts.images import few_digits, noise_images
from latentbench.contracts.options import composed, options, sizes_for
from latentbench.data.base import ImageData
from latentbench.errors import Refused
from latentbench.evaluation.build import build_model
from latentbench.running.train import fit

FAST = ("+trainer.limit_train_batches=2", "+trainer.limit_val_batches=1", "trainer.max_epochs=1", "logger=none")
SMALL = {
    "mlp": ["backbone.hidden=[16,16]"],
    "conv": ["backbone.hidden=16", "backbone.channels=[4,8]"],
    "resnet": ["backbone.hidden=16", "backbone.channels=[8,8]"],
    "conv_spatial": ["backbone.channels=[4,8]"],
    "resnet_spatial": ["backbone.channels=[8,8]"],
}


def brief(method: str, backbone: str = "mlp", *settings: str) -> DictConfig:
    """A method's config with a backbone, its networks small and its draws few, for two batches of training."""
    whole = composed(f"method={method}")
    few = ["regularizer.hidden=[16]"] * ("hidden" in whole.regularizer)
    few += ["objective.samples=3"] * ("samples" in whole.objective)
    return composed(f"method={method}", f"backbone={backbone}", *SMALL.get(backbone, ()), *FAST, *few, *settings)


def assert_two_batches_train(data: ImageData, folder: Path, config: DictConfig) -> pl.Trainer:
    """Two batches by way of the trainer move every weight, and all losses are numbers."""
    torch.default_generator.manual_seed(0)
    model = build_model(config, data)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = fit(config, model, data, folder)
    losses = model.done.losses
    assert any(name.startswith("train/") and "loss" in name for name in losses)
    assert all(map(math.isfinite, losses.values()))
    assert not [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert all(weight.isfinite().all() for weight in model.parameters())
    return trainer


def kind(method: str) -> tuple[Any, ...]:
    """What of a method a backbone could tell apart: a regularizer only if it looks at the decoder."""
    config = composed(f"method={method}")
    looks_at_it = "decoder" in inspect.getsource(get_class(config.regularizer._target_))
    parts = ("model", "posterior", "prior", "objective", *(("regularizer",) if looks_at_it else ()))
    return tuple(config.hydra.runtime.choices[part] for part in parts)


ONE_OF_EACH_KIND = {kind(method): method for method in options("method")}.values()
ONE_OF_EACH_MODEL = {composed(f"method={method}").hydra.runtime.choices.model: method for method in options("method")}
# Of the networks that papers have for larger images, those of the smallest images.
SMALLEST = min(
    (backbone for backbone in options("backbone") if (8, 8) not in sizes_for(backbone)), key=sizes_for, default=""
)


def is_case(method: str, backbone: str) -> bool:
    """Every method with the default backbone, one of each kind with any other, and one with those for larger images.

    Of each model with one of the latter.
    """
    if (8, 8) not in sizes_for(backbone):
        model = composed(f"method={method}").hydra.runtime.choices.model
        return method == ONE_OF_EACH_MODEL[model] and (model == "autoencoder" or backbone == SMALLEST)
    return backbone == composed().hydra.runtime.choices.backbone or method in ONE_OF_EACH_KIND


CASES = [case for case in itertools.product(options("method"), options("backbone")) if is_case(*case)]


@pytest.mark.parametrize(("method", "backbone"), CASES)
def test_two_batches_train_it_unless_it_says_what_else_to_take(method: str, backbone: str, tmp_path: Path) -> None:
    size = sizes_for(backbone)[0]
    data = few_digits() if size == (8, 8) else noise_images((3, *size), n=4)
    try:
        assert_two_batches_train(data, tmp_path, brief(method, backbone))
    except Refused as error:
        reason = str(error)
    else:
        return
    assert "backbone=" in reason


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("method", options("method"))
def test_it_trains_on_larger_images_in_colour_in_any_precision_and_on_a_last_batch_of_one_image(
    method: str, precision: str, tmp_path: Path
) -> None:
    data = noise_images((3, 32, 32), n=17)
    assert data.size("train") % data.batch_size == 1
    trainer = assert_two_batches_train(data, tmp_path, brief(method, "mlp", f"trainer.precision={precision}"))
    assert trainer.precision == precision


@pytest.mark.parametrize("latent_size", [1, 512])
@pytest.mark.parametrize("method", options("method"))
def test_it_trains_with_one_latent_dimension_or_very_many(method: str, latent_size: int, tmp_path: Path) -> None:
    config = brief(method, "mlp", f"latent_size={latent_size}", "trainer.limit_train_batches=1")
    torch.default_generator.manual_seed(0)
    model = build_model(config, few_digits())
    fit(config, model, few_digits(), tmp_path)
    assert model.done.losses
    assert all(map(math.isfinite, model.done.losses.values()))


def test_no_two_methods_are_one_method_of_two_names() -> None:
    configs = [brief(method) for method in options("method")]
    runs = [identity(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])) for config in configs]
    assert all(one != other for one, other in itertools.combinations(runs, 2))


def ranges(method: str) -> Ranges:
    return ranges_of(composed(f"method={method}").search)


@pytest.mark.parametrize("method", options("method"))
def test_it_says_what_may_be_tuned_and_its_own_values_lie_inside(method: str) -> None:
    config, of_method = composed(f"method={method}"), ranges(method)
    assert of_method or method not in own_options("method"), "one of yours may leave it out: it has no trials then"
    for key, of_key in of_method.items():
        value = OmegaConf.to_container(OmegaConf.create([OmegaConf.select(config, key)]))[0]  # type: ignore[index]
        if "values" in of_key:
            assert value in of_key["values"], key
        else:
            assert of_key["low"] < (1 if isinstance(value, str) else value) < of_key["high"], key


@pytest.mark.parametrize("method", [method for method in options("method") if method in own_options("method")])
def test_learning_rates_have_one_range_and_weights_one_width(method: str) -> None:
    of_method = ranges(method)
    assert of_method["model.learning_rate"] == ranges("vae")["model.learning_rate"]
    parts = composed(f"method={method}").hydra.runtime.choices
    assert ("beta" in of_method) == (parts.model == "autoencoder" and parts.regularizer != "none")
    if "beta" in of_method:
        beta, scale = composed(f"method={method}").beta, of_method["beta"]
        preset = 1 if isinstance(beta, str) else beta
        assert [scale["low"] / preset, scale["high"] / preset] == pytest.approx([0.01, 100])


@pytest.mark.parametrize("end", [0.0, 1 - 1e-9])
@pytest.mark.parametrize("method", options("method"))
def test_it_builds_at_the_ends_of_its_ranges(method: str, end: float) -> None:
    config = copy.deepcopy(brief(method))
    set_values(config, {key: value_at(of_key, end) for key, of_key in ranges(method).items()})
    check(config)
    assert list(build_model(config, few_digits()).parameters())

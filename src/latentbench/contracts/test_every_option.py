"""What holds for each option's YAML and for the class behind it."""

import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import GROUPS, option_description, option_file, own_options
from latentbench.configuration.compose import compose_config
from latentbench.configuration.identity import choices
from latentbench.contracts import CHECKED
from latentbench.contracts.images import few_digits, noise_images
from latentbench.contracts.options import (
    ALL,
    SEVERAL,
    WITH_TARGET,
    WITHOUT_TARGET,
    chosen,
    composed,
    features_for,
    node_of,
    options,
    part_of,
    refusal_of,
    sizes_for,
)
from latentbench.evaluation.build import build_model
from latentbench.running.train import build_trainer

MODEL_PARTS = ("model", "backbone", "posterior", "prior", "regularizer", "likelihood", "objective", "annealing")
# Base classes whose constructor is not an option's own.
NOT_ITS_OWN = ("builtins", "torch", "torchmetrics", "pytorch_lightning")


def the_class(group: str, option: str) -> type:
    """What an option's `_target_` names."""
    return get_class(node_of(group, option)._target_)


# One config is composed of an option of every group at once: groups do not depend on each other.
OF_GROUPS = [
    [(group, option) for option in options(group)] for group in CHECKED or GROUPS if group not in WITHOUT_TARGET
]
CONFIGS = [tuple(filter(None, parts)) for parts in itertools.zip_longest(*OF_GROUPS)]


@pytest.mark.parametrize("parts", CONFIGS, ids=lambda parts: "-".join(option for _, option in parts)[:40])
def test_options_compose_as_their_yamls_say(parts: tuple[tuple[str, str], ...]) -> None:
    overrides = [chosen(group, option) for group, option in parts]
    config = compose_config(overrides)
    for group, option in parts:
        if group in SEVERAL:
            name = "classifier" if (group, option) == ("features", "auto") else option  # whose place it takes
            assert list(config[group]) == [name], "records and tables know it by its file's name"
        else:
            assert config.hydra.runtime.choices[group] == option
        (node,) = config[group].values() if group in SEVERAL else (config[group],)
        assert OmegaConf.to_container(node) == OmegaConf.to_container(node_of(group, option)), "what the tests use"
    assert_same_config(config, composed(*overrides))


def assert_same_config(config: DictConfig, other: DictConfig) -> None:
    """Hydra's config is the one that the tests use."""
    assert {k: v for k, v in config.items() if k != "hydra"} == {k: v for k, v in other.items() if k != "hydra"}
    assert choices(config, config.hydra.runtime.choices) == choices(other, other.hydra.runtime.choices)


METHODS, SWEEPS = ([option for group, option in ALL if group == name] for name in WITHOUT_TARGET)
assert len(METHODS) >= len(SWEEPS) or CHECKED, "each sweep with a method of its own"


@pytest.mark.parametrize(("method", "sweep"), list(itertools.zip_longest(METHODS, SWEEPS)))
def test_a_method_composes_of_the_parts_that_its_yaml_names_in_a_sweep_too(
    method: str | None, sweep: str | None
) -> None:
    overrides = [f"method={method or 'aae'}", "data=fashion_mnist", "latent_size=3", "model.learning_rate=1e-4"]
    # A method picks no metrics, and Hydra reads each from a file of its own.
    overrides += [f"sweep={sweep}"] if sweep else ["backbone.hidden=[16]", "metric=[fid]", "sampler=[prior]"]
    config = compose_config(overrides)
    assert config.hydra.runtime.choices.get("sweep") == sweep
    assert_same_config(config, composed(*overrides))


def test_configs_that_share_parts_have_values_of_their_own() -> None:
    parts = ("launcher=slurm", "posterior=categorical", "prior=categorical")
    configs = [composed(*parts, f"beta={n}", f"study=s{n}", f"prior.classes={n}", f"model.width={n}") for n in (2, 3)]
    for n, config in zip((2, 3), configs, strict=True):
        assert (config.model.beta, config.model.width, config.launcher.folder) == (n, n, f"outputs/s{n}/slurm")
        assert config.prior.classes == config.posterior.classes == n
    assert "width" not in composed(*parts, "beta=2").model


@pytest.mark.parametrize(("group", "option"), ALL)
def test_its_first_comment_is_a_sentence(group: str, option: str) -> None:
    path = option_file(group, option)
    assert path is not None
    comments = [line for line in path.read_text().splitlines() if not line.startswith("# @")]
    said = option_description(path)
    assert comments[0] == f"# {said}", "nothing but a directive to Hydra stands before it"
    assert len(said.split()) >= 3
    assert said.endswith(".")


@pytest.mark.parametrize(("group", "option"), WITH_TARGET)
def test_its_constructor_takes_keywords_and_leaves_defaults_to_the_yaml(group: str, option: str) -> None:
    kind = the_class(group, option)
    own = next((c for c in kind.__mro__ if "__init__" in vars(c)), object)
    if own.__module__.split(".")[0] in NOT_ITS_OWN:
        return
    for name, parameter in list(inspect.signature(own.__init__).parameters.items())[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameter.default is inspect.Parameter.empty, name


def parts_that_fit(group: str, option: str) -> dict[str, str]:
    """The option with a posterior, a prior and a regularizer that it fits, the default ones if it fits them."""
    default = {"posterior": "gaussian", "prior": "normal", "regularizer": "kl"}
    candidates = [[option] if group == name else [one, *own_options(name)] for name, one in default.items()]
    fitting = next(parts for parts in itertools.product(*candidates) if refusal_of(*parts) is None)
    return dict(zip(default, fitting, strict=True)) | {group: option}


@pytest.mark.parametrize(("group", "option"), WITH_TARGET)
def test_it_builds_with_what_its_yaml_and_the_run_give_it(group: str, option: str, tmp_path: Path) -> None:
    data = few_digits()
    if group == "model":
        assert list(build_model(composed(chosen(group, option)), data).parameters())
    elif group in MODEL_PARTS:
        parts = [f"{name}={picked}" for name, picked in parts_that_fit(group, option).items()]
        if group == "backbone":
            data = noise_images((1, *sizes_for(option)[0]), n=2)
        made: Any = getattr(build_model(composed(*parts), data), group)
        assert isinstance(made, the_class(group, option))
    elif group == "trainer":
        made = build_trainer(composed(chosen(group, option)), tmp_path, logger=None, devices=None)
        assert isinstance(made, the_class(group, option))
    else:
        given = {"seed": 0} if group == "data" else {}
        made = features_for(option, data.name, data.shape) if group == "features" else part_of(group, option, **given)
        assert isinstance(made, the_class(group, option))


@pytest.mark.parametrize(("group", "option"), [case for case in WITH_TARGET if case[0] != "trainer"])
def test_the_docstring_of_its_class_says_more_than_its_name(group: str, option: str) -> None:
    kind = the_class(group, option)
    words = set(re.findall("[a-z]+", (kind.__doc__ or "").lower()))
    name = set(re.findall("[a-z]+", re.sub("([A-Z])", r" \1", kind.__name__).lower()))
    assert len(words - name - {"a", "an", "the", "of", "is", "this"}) >= 2

"""What holds for each YAML in conf/ and for the class behind it."""

import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

import latentbench
from latentbench.cli.help import help_text
from latentbench.configuration.catalogue import CONF_DIR, GROUPS, option_description
from latentbench.configuration.compose import compose_config
from latentbench.configuration.identity import choices
from latentbench.evaluation.build import build_model
from options import (
    ALL,
    SEVERAL,
    WITH_TARGET,
    WITHOUT_TARGET,
    chosen,
    composed,
    features_for,
    few_digits,
    node_of,
    options,
    part_of,
    refusal_of,
)

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(latentbench.__path__, "latentbench.")
    if not module.name.rpartition(".")[2].startswith("_")
)
PACKAGES = {
    group: f"latentbench.{group}{'' if group in ('annealing', 'data', 'features') else 's'}" for group, _ in WITH_TARGET
}
PACKAGES["trainer"] = "pytorch_lightning"
MODEL_PARTS = ("model", "backbone", "posterior", "prior", "regularizer", "likelihood", "objective", "annealing")


@functools.cache
def shown() -> str:
    return help_text()


def the_class(group: str, option: str) -> type:
    """What an option's `_target_` names."""
    return get_class(node_of(group, option)._target_)


def test_the_folders_of_conf_are_the_groups_that_help_shows() -> None:
    folders = {path.name for path in CONF_DIR.iterdir() if path.is_dir()} - {"hydra"}
    assert folders == set(GROUPS)


# One config is composed of an option of every group at once: groups do not depend on each other.
OF_GROUPS = [[(group, option) for option in options(group)] for group in GROUPS if group not in WITHOUT_TARGET]
CONFIGS = [tuple(filter(None, parts)) for parts in itertools.zip_longest(*OF_GROUPS)]


@pytest.mark.parametrize("parts", CONFIGS, ids=lambda parts: "-".join(option for _, option in parts)[:40])
def test_options_compose_as_their_yamls_say(parts: tuple[tuple[str, str], ...]) -> None:
    overrides = [chosen(group, option) for group, option in parts]
    config = compose_config(overrides)
    for group, option in parts:
        if group in SEVERAL:
            assert list(config[group]) == [option], "records and tables know it by its file's name"
        else:
            assert config.hydra.runtime.choices[group] == option
        (node,) = config[group].values() if group in SEVERAL else (config[group],)
        assert OmegaConf.to_container(node) == OmegaConf.to_container(node_of(group, option)), "what the tests use"
    assert_same_config(config, composed(*overrides))


@pytest.mark.parametrize("method", options("method"))
def test_a_method_composes_of_the_parts_that_its_yaml_names(method: str) -> None:
    overrides = [f"method={method}", "latent_size=3", "backbone.hidden=[16]", "model.learning_rate=1e-4"]
    assert_same_config(compose_config(overrides), composed(*overrides))


def assert_same_config(config: DictConfig, other: DictConfig) -> None:
    """Hydra's config is the one that the tests use."""
    assert {k: v for k, v in config.items() if k != "hydra"} == {k: v for k, v in other.items() if k != "hydra"}
    assert choices(config, config.hydra.runtime.choices) == choices(other, other.hydra.runtime.choices)


@pytest.mark.parametrize("sweep", options("sweep"))
def test_a_sweep_composes_with_any_method_and_data_set(sweep: str) -> None:
    overrides = [f"sweep={sweep}", "method=aae", "data=fashion_mnist", "beta=3"]
    config = compose_config(overrides)
    assert config.hydra.runtime.choices["sweep"] == sweep
    assert_same_config(config, composed(*overrides))


@pytest.mark.parametrize(("group", "option"), ALL)
def test_its_first_comment_is_a_sentence_that_help_shows(group: str, option: str) -> None:
    path = CONF_DIR / group / f"{option}.yaml"
    comments = [line for line in path.read_text().splitlines() if not line.startswith("# @")]
    said = option_description(path)
    assert comments[0] == f"# {said}", "nothing but a directive to Hydra stands before it"
    assert len(said.split()) >= 3
    assert said.endswith(".")
    assert said in shown()


@pytest.mark.parametrize(("group", "option"), WITH_TARGET)
def test_its_class_lies_in_the_package_that_mirrors_the_group(group: str, option: str) -> None:
    assert the_class(group, option).__module__.startswith(f"{PACKAGES[group]}.")


@pytest.mark.parametrize(("group", "option"), WITH_TARGET)
def test_its_constructor_takes_keywords_and_leaves_defaults_to_the_yaml(group: str, option: str) -> None:
    kind = the_class(group, option)
    own = next((c for c in kind.__mro__ if "__init__" in vars(c)), object)
    if not own.__module__.startswith("latentbench."):
        return  # it takes nothing of its own, or it is Lightning's
    for name, parameter in list(inspect.signature(own.__init__).parameters.items())[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameter.default is inspect.Parameter.empty, name


def parts_that_fit(group: str, option: str) -> dict[str, str]:
    """The option with a posterior, a prior and a regularizer that it fits, the default ones if it fits them."""
    default = {"posterior": "gaussian", "prior": "normal", "regularizer": "kl"}
    candidates = [[option] if group == name else [one, *options(name)] for name, one in default.items()]
    fitting = next(parts for parts in itertools.product(*candidates) if refusal_of(*parts) is None)
    return dict(zip(default, fitting, strict=True)) | {group: option}


@pytest.mark.parametrize(("group", "option"), WITH_TARGET)
def test_it_builds_with_what_its_yaml_and_the_run_give_it(group: str, option: str) -> None:
    data = few_digits()
    if group == "model":
        assert list(build_model(composed(chosen(group, option)), data).parameters())
    elif group in MODEL_PARTS:
        parts = [f"{name}={picked}" for name, picked in parts_that_fit(group, option).items()]
        made: Any = getattr(build_model(composed(*parts), data), group)
        assert isinstance(made, the_class(group, option))
    else:
        given = {"seed": 0} if group == "data" else {}
        made = features_for(option, data.name, data.shape) if group == "features" else part_of(group, option, **given)
        assert isinstance(made, the_class(group, option))


@pytest.mark.parametrize("package", sorted(set(PACKAGES.values()) - {"pytorch_lightning"}))
def test_every_class_that_could_be_an_option_has_its_yaml(package: str) -> None:
    groups = [group for group in PACKAGES if PACKAGES[group] == package]
    named = {node_of(group, option)._target_ for group in groups for option in options(group)}
    base = importlib.import_module(f"{package}.base")
    contracts = tuple(
        kind for kind in vars(base).values() if isinstance(kind, type) and kind.__module__ == base.__name__
    )
    contracts = tuple(c for c in contracts if any(issubclass(get_class(target), c) for target in named))
    assert contracts, "the options have a contract in base.py"
    for module in (importlib.import_module(name) for name in MODULES if name.startswith(f"{package}.")):
        for name, kind in vars(module).items():
            concrete = isinstance(kind, type) and kind.__module__ == module.__name__ and module is not base
            if concrete and issubclass(kind, contracts) and not inspect.isabstract(kind):
                assert f"{module.__name__}.{name}" in named, "an option is one Python file plus one YAML"


def contract_parts(module: types.ModuleType) -> Iterator[tuple[str, object]]:
    """Public classes that a module defines, and their abstract methods."""
    for name, kind in vars(module).items():
        if isinstance(kind, type) and kind.__module__ == module.__name__ and not name.startswith("_"):
            yield name, kind
            yield from (
                (f"{name}.{method}", getattr(kind, method)) for method in getattr(kind, "__abstractmethods__", ())
            )


def test_every_module_says_what_it_is() -> None:
    assert not [name for name in MODULES if not importlib.import_module(name).__doc__]


@pytest.mark.parametrize("module_name", [name for name in MODULES if name.endswith(".base")])
def test_a_contract_says_what_its_classes_and_abstract_methods_are(module_name: str) -> None:
    parts = contract_parts(importlib.import_module(module_name))
    assert not [name for name, thing in parts if not (thing.__doc__ or "").strip()]


@pytest.mark.parametrize(("group", "option"), [case for case in WITH_TARGET if case[0] != "trainer"])
def test_the_docstring_of_its_class_says_more_than_its_name(group: str, option: str) -> None:
    kind = the_class(group, option)
    words = set(re.findall("[a-z]+", (kind.__doc__ or "").lower()))
    name = set(re.findall("[a-z]+", re.sub("([A-Z])", r" \1", kind.__name__).lower()))
    assert len(words - name - {"a", "an", "the", "of", "is", "this"}) >= 2


def test_a_module_imports_only_from_those_later_in_the_reading_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lint_imports = pytest.importorskip("importlinter.cli", reason="import-linter is not installed").lint_imports
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("sys.path", [*sys.path])  # which it adds to
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out

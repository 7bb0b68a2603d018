"""What holds for latentbench's own options, beside the contracts, and for its modules."""

import importlib
import inspect
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.utils import get_class

import latentbench
from latentbench.configuration.catalogue import CONF_DIR, GROUPS
from latentbench.contracts.options import (
    WITH_TARGET,
    node_of,
    options,
)

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(latentbench.__path__, "latentbench.")
    if not module.name.rpartition(".")[2].startswith("_") and ".contracts." not in module.name
)
PACKAGES = {
    group: f"latentbench.{group}{'' if group in ('annealing', 'data', 'features') else 's'}" for group, _ in WITH_TARGET
}
PACKAGES["trainer"] = "pytorch_lightning"


def test_the_folders_of_conf_are_the_groups_that_help_shows() -> None:
    folders = {path.name for path in CONF_DIR.iterdir() if path.is_dir()} - {"hydra"}
    assert folders == set(GROUPS)


@pytest.mark.parametrize(("group", "option"), WITH_TARGET)
def test_its_class_lies_in_the_package_that_mirrors_the_group(group: str, option: str) -> None:
    assert node_of(group, option)._target_.startswith(f"{PACKAGES[group]}.")


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


def test_a_module_imports_only_from_those_later_in_the_reading_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lint_imports = pytest.importorskip("importlinter.cli", reason="import-linter is not installed").lint_imports
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("sys.path", [*sys.path])  # which it adds to
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)  # it would silence every logger there is
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out

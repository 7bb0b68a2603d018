"""Imports and instantiates the class that `_target_` in an option's YAML names."""

import functools
import sys
from typing import Any

from hydra._internal.utils import _locate
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from latentbench.errors import UserError


def locate(target: str) -> Any:
    """What `_target_` names. Raises: UserError if it cannot be imported, whatever its module raises."""
    try:
        return _locate(target)
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())
        module, _, name = target.rpartition(".")
        if isinstance(cause, ModuleNotFoundError) and getattr(cause, "name", None) == target and module in sys.modules:
            raise UserError(f"_target_: {target}: {module} has no {name}") from error
        raise UserError(f"_target_: {target} cannot be imported ({type(cause).__name__}: {reason})") from error


def build(node: DictConfig, **arguments: Any) -> Any:
    """Instantiate a part of the config.

    arguments: arguments of its constructor that are not in the config
    Raises: UserError if the class cannot be imported, or its constructor rejects a value.
    """
    return _build(OmegaConf.to_container(node, resolve=True), arguments)


def _build(node: Any, arguments: dict[str, Any]) -> Any:
    """The object that a container with `_target_` describes; of any other container the same, its entries built."""
    if isinstance(node, list):
        return [_build(entry, {}) for entry in node]
    if not isinstance(node, dict):
        return node
    settings = {key: _build(entry, {}) for key, entry in node.items() if key != "_target_"}
    if "_target_" not in node:
        return settings
    target = node["_target_"]
    _check_target(target)
    kind = locate(target)  # anew each time: its module may have been loaded again
    try:
        return kind(**(settings | arguments))
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{target.rpartition('.')[2]} cannot be built with {settings}: {error}") from error


@functools.cache
def _check_target(target: str) -> None:
    """Raises: UserError if it cannot be imported, or Hydra does not allow it. It takes milliseconds: once is enough."""
    locate(target)
    try:
        instantiate({"_target_": target}, _partial_=True)
    except InstantiationException as error:
        raise UserError(f"{target}: {' '.join(str(error.__cause__ or error).split())}") from error

"""Imports the class that `_target_` in an option's YAML names."""

from typing import Any

from hydra._internal.utils import _locate

from latentbench.errors import UserError


def locate(target: str) -> Any:
    """What `_target_` names. Raises: UserError if it cannot be imported, whatever its module raises."""
    try:
        return _locate(target)
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())
        raise UserError(f"_target_: {target} cannot be imported ({type(cause).__name__}: {reason})") from error

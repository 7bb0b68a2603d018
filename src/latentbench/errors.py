"""Errors that a user can fix. Each message is one line: what is wrong, and what to do about it."""

import math
from collections.abc import Sequence


class UserError(Exception):
    """The command, the configuration or the data is not usable."""


class Refused(UserError):
    """The parts of a run do not fit together. The message says why, and which parts would fit."""


class Diverged(Exception):
    """The training loss, a weight or a fact of the trained model is not a finite number."""


def check_number(
    name: str,
    value: float,
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    maximum: float = math.inf,
    below: float = math.inf,
) -> float:
    """Return the setting as a float. Raises: UserError if it is not a number within the bounds."""
    if type(value) not in (int, float) or not (minimum <= value <= maximum and above < value < below):
        bounds = (("above", above), ("at least", minimum), ("at most", maximum), ("below", below))
        within = " and ".join(f"{words} {bound:g}" for words, bound in bounds if math.isfinite(bound))
        raise UserError(f"{name}={value}: give a number{' ' * bool(within)}{within}")
    return float(value)


def check_whole_number(name: str, value: int, *, minimum: int) -> int:
    """Return the setting. Raises: UserError if it is not a whole number of at least `minimum`."""
    if type(value) is not int or value < minimum:
        raise UserError(f"{name}={value}: give a whole number, {minimum} or more")
    return value


def check_widths(name: str, values: Sequence[int] | None) -> list[int]:
    """Return a list of layer widths. Raises: UserError if it is empty or not all are whole numbers of at least 1."""
    if not isinstance(values, list | tuple) or not values or any(type(v) is not int or v < 1 for v in values):
        raise UserError(f"{name}={values}: give a list of one or more whole numbers, each 1 or more, such as [64, 64]")
    return list(values)

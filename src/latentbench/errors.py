"""What goes wrong in ways a user can mend. Each message is one line: what is wrong, what would be right."""

import math
from collections.abc import Sequence


class UserError(Exception):
    """The command, the configuration or the data cannot be used as given."""


class Refused(UserError):
    """The parts of a run do not fit together; the message says why and what would fit."""


class Diverged(Exception):
    """Training reached a loss that is not a finite number."""


def check_number(
    name: str,
    value: float,
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    maximum: float = math.inf,
    below: float = math.inf,
) -> float:
    """A setting that is a number within bounds, as a float. Raises: UserError if it is not."""
    if type(value) not in (int, float) or not (minimum <= value <= maximum and above < value < below):
        bounds = (("above", above), ("at least", minimum), ("at most", maximum), ("below", below))
        within = " and ".join(f"{words} {bound:g}" for words, bound in bounds if math.isfinite(bound))
        raise UserError(f"{name}={value}: give a number{' ' * bool(within)}{within}")
    return float(value)


def check_whole_number(name: str, value: int, *, minimum: int) -> int:
    """A setting that is a whole number, `minimum` or more. Raises: UserError if it is not."""
    if type(value) is not int or value < minimum:
        raise UserError(f"{name}={value}: give a whole number, {minimum} or more")
    return value


def check_widths(name: str, values: Sequence[int]) -> list[int]:
    """A setting that is a list of whole numbers, one or more, 1 or more each. Raises: UserError if it is not."""
    if not isinstance(values, list | tuple) or not values or any(type(v) is not int or v < 1 for v in values):
        raise UserError(f"{name}={values}: give a list of one or more whole numbers, each 1 or more, such as [64, 64]")
    return list(values)

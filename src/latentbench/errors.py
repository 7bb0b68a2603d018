"""What goes wrong in ways a user can mend. Each message is one line: what is wrong, what would be right."""

import math
from collections.abc import Sequence


class UserError(Exception):
    """The command, the configuration or the data cannot be used as given."""


class Refused(UserError):
    """The parts of a run do not fit together; the message says why and what would fit."""


class Diverged(Exception):
    """Training reached a loss that is not a finite number."""


def number(
    name: str,
    value: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """A setting that is a number within bounds, as a float. Raises: UserError if it is not."""
    if type(value) not in (int, float) or not (least <= value <= most and above < value < below):
        bounds = (("above", above), ("at least", least), ("at most", most), ("below", below))
        within = " and ".join(f"{words} {bound:g}" for words, bound in bounds if math.isfinite(bound))
        raise UserError(f"{name}={value}: give a number{' ' * bool(within)}{within}")
    return float(value)


def whole_number(name: str, value: int, *, least: int) -> int:
    """A setting that is a whole number, `least` or more. Raises: UserError if it is not."""
    if type(value) is not int or value < least:
        raise UserError(f"{name}={value}: give a whole number, {least} or more")
    return value


def widths(name: str, values: Sequence[int]) -> list[int]:
    """A setting that is a list of whole numbers, one or more, 1 or more each. Raises: UserError if it is not."""
    if not isinstance(values, list | tuple) or not values or any(type(v) is not int or v < 1 for v in values):
        raise UserError(f"{name}={values}: give a list of one or more whole numbers, each 1 or more, such as [64, 64]")
    return list(values)

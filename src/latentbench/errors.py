"""What goes wrong in ways a user can mend. Each message is one line: what is wrong, what would be right."""

import math


class UserError(Exception):
    """The command, the configuration or the data cannot be used as given."""


class Refused(UserError):
    """The parts of a run do not fit together; the message says why and what would fit."""


class Diverged(Exception):
    """Training reached a loss that is not a finite number."""


def number(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> float:
    """A setting that is a number within bounds, as a float. Raises: UserError if it is not."""
    if type(value) not in (int, float) or not (least <= value <= most and value > above):
        bounds = (("above", above), ("at least", least), ("at most", most))
        within = " and ".join(f"{words} {bound:g}" for words, bound in bounds if math.isfinite(bound))
        raise UserError(f"{name}={value}: give a number{' ' * bool(within)}{within}")
    return float(value)


def whole_number(name: str, value: int, *, least: int) -> int:
    """A setting that is a whole number, `least` or more. Raises: UserError if it is not."""
    if type(value) is not int or value < least:
        raise UserError(f"{name}={value}: give a whole number, {least} or more")
    return value

"""The weight of the regularizer, `beta`: a number, or a formula of what a published weight depends on."""

import ast
import contextlib
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from latentbench.errors import UserError

OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
NAMES = ("pixels", "latents")


def work_out(beta: Any, *, pixels: int, latents: int) -> float:
    """The number that `beta` is for images of so many pixels (C H W) and latents of so many dimensions.

    beta: a number of 0 or more, or a formula of `pixels` and `latents` with + - * / and brackets
    Raises: UserError if it is neither.
    """
    value = -1.0
    with contextlib.suppress(SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        value = _value(ast.parse(str(beta), mode="eval").body, {"pixels": pixels, "latents": latents})
    if not 0 <= value < math.inf:
        names = " and ".join(NAMES)
        raise UserError(f"beta={beta}: give a number, 0 or more, or a formula of {names} such as 10 * pixels")
    return value


def as_one_number(beta: float | str) -> float | str:
    """1 and 1.0 as one number; a formula as it is."""
    return beta if isinstance(beta, str) else float(beta)


def weight_name(beta: float | str) -> str:
    """As in names: a number without needless zeros, or the formula."""
    return beta if isinstance(beta, str) else f"{beta:g}"


def _value(node: ast.expr, names: Mapping[str, int]) -> float:
    """Raises: ValueError for anything but numbers, names and operations."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in names:
        return float(names[node.id])
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, names), _value(node.right, names))
    raise ValueError(ast.dump(node))

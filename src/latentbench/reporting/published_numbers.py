"""Numbers of papers beside a study's own: the entries of `table.published`, and whether our runs reproduce them."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.settings import Settings, settings
from latentbench.errors import UserError
from latentbench.reporting.significance import mean_and_deviation
from latentbench.reporting.summary import Row, Summary, format_value, label_of

KNOWN = ("seen", "recalled", "computed")  # values of `read`
REQUIRED = {"data", "row", "key", "value", "within", "why", "source", "read"}
OPTIONAL = {"error", "minus", "over", "cause"}
CLEAR = 2.0  # standard errors from a limit that is alone, such as that of a sign, to be on one side of it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """A metric of one row of the table, which the row's settings name."""

    row: Mapping[str, Any]
    key: str

    def __str__(self) -> str:
        return f"{self.key} of {label_of(self.row)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """An entry of `table.published`: a metric of a row or, if there is another term, a difference or a ratio of two.

    data: the data set that it is of
    value, error: what was published, and its standard error; None if it is not known
    low, high: between what ours must lie for the number to count as reproduced; infinite where there is no limit
    why: the reason for these limits
    source: paper and table
    read: `seen` in the source, `recalled`, or `computed` by a formula
    cause: why ours lies outside, as far as it was found
    """

    data: str
    term: Term
    sign: str  # "minus" or "over" the other term; empty without one
    other: Term | None
    value: float
    error: float | None
    low: float
    high: float
    why: str
    source: str
    read: str
    cause: str

    def __str__(self) -> str:
        number = f"{self.term} {self.sign} {self.other}" if self.other else str(self.term)
        return f"{number} on {self.data}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A published number and ours.

    ours, error, n: mean over the finished runs, its standard error and the number of runs; nan and 0 without a number
    remark: why there is no number of ours
    """

    published: PublishedNumber
    ours: float = math.nan
    error: float = math.nan
    n: int = 0
    remark: str = ""

    @property
    def errors_apart(self) -> float:
        """Ours minus theirs in units of the standard error of that difference; nan if neither has an error."""
        total = math.hypot(*(e for e in (self.error, self.published.error or 0.0) if not math.isnan(e)))
        return (self.ours - self.published.value) / total if total > 0 else math.nan

    @property
    def verdict(self) -> str:
        """`reproduced`, `missed`, `undecided` if ours is near to a limit that is alone, or why there is no number."""
        if self.remark:
            return self.remark
        alone = [x for x in (self.published.low, self.published.high) if math.isfinite(x)]
        if len(alone) == 1 and abs(self.ours - alone[0]) < CLEAR * self.error:
            return "undecided"
        return "reproduced" if self.published.low <= self.ours <= self.published.high else "missed"


def published_numbers(config: DictConfig) -> list[PublishedNumber]:
    """The entries of `table.published`. Raises: UserError for the first one that is not valid."""
    entries = OmegaConf.select(config, "table.published")
    if entries is None:
        return []
    content = OmegaConf.to_container(entries, resolve=True)
    if not isinstance(content, list):
        raise UserError("table.published: give a list of published numbers")
    return [_parse(entry, f"table.published[{index}]") for index, entry in enumerate(content)]


def _parse(entry: Any, where: str) -> PublishedNumber:
    if not isinstance(entry, dict) or REQUIRED - entry.keys() or entry.keys() - REQUIRED - OPTIONAL:
        raise UserError(
            f"{where}: an entry has {', '.join(sorted(REQUIRED))} and may have {', '.join(sorted(OPTIONAL))}"
        )
    if entry["read"] not in KNOWN:
        raise UserError(f"{where}.read={entry['read']}: choose {', '.join(KNOWN)}")
    if not isinstance(entry["row"], dict):
        raise UserError(f"{where}.row={entry['row']}: give the settings of a row, such as {{method: vae}}")
    limits = entry["within"]
    if not isinstance(limits, list) or len(limits) != 2 or not all(_is_number(x) or x is None for x in limits):
        raise UserError(f"{where}.within={limits}: give two numbers, null for no limit")
    if not _is_number(entry["value"]) or not (entry.get("error") is None or _is_number(entry["error"])):
        raise UserError(f"{where}: value and error must be numbers")
    signs = [sign for sign in ("minus", "over") if entry.get(sign)]
    other = entry[signs[0]] if signs else {}
    if len(signs) > 1 or not isinstance(other, dict) or other.keys() - {"row", "key"}:
        raise UserError(f"{where}: give minus or over, with the row or the key of the other term, where these differ")
    low, high = (float(default if x is None else x) for x, default in zip(limits, (-math.inf, math.inf), strict=True))
    term = Term(row=entry["row"], key=entry["key"])
    return PublishedNumber(
        data=str(entry["data"]),
        term=term,
        sign=signs[0] if signs else "",
        other=Term(row=other.get("row", term.row), key=other.get("key", term.key)) if other else None,
        value=float(entry["value"]),
        error=entry.get("error"),
        low=low,
        high=high,
        read=entry["read"],
        **{key: " ".join(str(entry.get(key) or "").split()) for key in ("why", "source", "cause")},
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def compare(numbers: Sequence[PublishedNumber], summary: Summary) -> list[Comparison]:
    """Every published number beside ours; those of a data set that no run has are left out."""
    rows_of: dict[str, list[tuple[Row, Settings]]] = {}
    for row in summary.rows:
        of_row = settings(row.runs[0].choices, row.runs[0].config)
        rows_of.setdefault(str(of_row["data"]), []).append((row, of_row))
    return [_compare(number, rows_of[number.data]) for number in numbers if number.data in rows_of]


def _compare(number: PublishedNumber, rows: Sequence[tuple[Row, Settings]]) -> Comparison:
    found = []
    for term in filter(None, (number.term, number.other)):
        fitting = list(_fitting(term, rows))
        if len(fitting) != 1:
            return Comparison(published=number, remark=f"several rows are {term}" if fitting else "no run yet")
        if not fitting[0].numbers(term.key):
            return Comparison(published=number, remark=_why_missing(fitting[0], term.key))
        found.append(_mean_and_error(fitting[0], term.key))
    (ours, error, n), *rest = found
    for other, other_error, other_n in rest:
        if number.sign == "over" and other == 0:
            return Comparison(published=number, remark=f"{number.other} is 0")
        if number.sign == "over":
            ours, error = ours / other, math.hypot(error / other, ours * other_error / other**2)
        else:
            ours, error = ours - other, math.hypot(error, other_error)
        n = min(n, other_n)
    return Comparison(published=number, ours=ours, error=error, n=n)


def _why_missing(row: Row, key: str) -> str:
    reasons = [run.skipped[key] for run in row.runs if key in run.skipped]
    return f"skipped: {reasons[0]}" if reasons else f"not measured ({row.status})"


def _fitting(term: Term, rows: Sequence[tuple[Row, Settings]]) -> Iterator[Row]:
    for row, of_row in rows:
        if all(key in of_row and format_value(of_row[key]) == format_value(value) for key, value in term.row.items()):
            yield row


def _mean_and_error(row: Row, key: str) -> tuple[float, float, int]:
    """The mean over seeds, its standard error and their number; of a single run the standard error over test images."""
    values = row.numbers(key)
    if len(values) > 1:
        mean, deviation = mean_and_deviation(values)
        return mean, deviation / math.sqrt(len(values)), len(values)
    errors = [run.standard_errors.get(key, math.nan) for run in row.finished if key in run.metrics]
    return values[0], errors[0], 1

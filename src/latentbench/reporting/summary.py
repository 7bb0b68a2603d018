"""A study's table: rows of cells, on one or more scales."""

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentbench.records.keys import floor_key
from latentbench.records.record import Record
from latentbench.reporting.columns import Column, bounds_of

FLOOR = "floor"  # the status of a row of real images


@dataclasses.dataclass(kw_only=True)
class Cell:
    """A metric of a row: mean over its finished runs, half-width of the 95 % confidence interval, number of runs.

    low, high: the means of what bounds it from below and from above; the mean itself where nothing does
    difference, difference_interval: its mean minus that of its baseline, and the half-width of the 95 % confidence
        interval of that; nan without a baseline, with fewer than two seeds, or where bounds leave either mean open
    p: p value of the difference, adjusted for all tests of its column and scale; nan if the study does not test it
    is_best: whether no row of the scale has a better mean
    differs: whether the row differs significantly from its baseline
    """

    mean: float = math.nan
    interval: float = math.nan
    n: int = 0
    low: float = math.nan
    high: float = math.nan
    difference: float = math.nan
    difference_interval: float = math.nan
    p: float = math.nan
    is_best: bool = False
    differs: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the mean is known from bounds alone."""
        return self.low < self.high

    def overlaps(self, other: "Cell") -> bool:
        """Whether the bounds leave open which of the two is larger."""
        return self.low < other.high and other.low < self.high


@dataclasses.dataclass(kw_only=True, eq=False)
class Row:
    """A setting of the study with its runs, or a floor, what real images score, which has no runs.

    index: its position in the table
    values: row key -> value; a floor has values of scale keys only
    status: `finished` if any run is finished, else the statuses of its runs; `floor` for real images
    seeds: number of finished runs; for a floor, number of seeds that it averages over
    runs: one per seed, lowest seed first
    cells: metric -> cell
    rank: mean rank over metrics; nan if it has none
    baseline: the row that it is tested against
    """

    index: int
    values: Mapping[str, Any]
    scale_keys: Sequence[str]
    status: str
    seeds: int
    runs: list[Record]
    cells: dict[str, Cell]
    rank: float = math.nan
    baseline: "Row | None" = None

    @property
    def is_floor(self) -> bool:
        """Whether these are real images."""
        return self.status == FLOOR

    @functools.cached_property
    def label(self) -> str:
        """Its values of all row keys, such as `vae, beta=1`."""
        return label_of(self.values)

    @functools.cached_property
    def name(self) -> str:
        """Its name among the rows of its scale: the label without the scale keys."""
        return self.name_without(None)

    def name_without(self, key: str | None) -> str:
        """Its name without the scale keys and `key`."""
        own = {k: value for k, value in self.values.items() if k not in self.scale_keys and k != key}
        return label_of(own or self.values)

    @property
    def first_label(self) -> str:
        """Its value of the first row key."""
        return label_of(dict([next(iter(self.values.items()))]))

    @property
    def is_complete(self) -> bool:
        """Whether all its runs are finished: the seeds that are left of others are chosen by what failed."""
        return len(self.finished) == len(self.runs)

    @functools.cached_property
    def finished(self) -> list[Record]:
        """Its finished runs."""
        return [run for run in self.runs if run.status == "finished"]

    def numbers(self, metric: str) -> list[float]:
        """The values of a metric in its finished runs."""
        return [run.metrics[metric] for run in self.finished if metric in run.metrics]

    def caveats_of(self, metric: str) -> list[str]:
        """The caveats of a metric in its runs, each once."""
        return list(dict.fromkeys(run.caveats[metric] for run in self.runs if metric in run.caveats))

    def bounds(self, metric: str) -> list[list[float]]:
        """What bounds the values of a metric from below, and from above: the values themselves where nothing does."""
        runs = [run.metrics for run in self.finished if metric in run.metrics]
        return [[run.get(bound, run[metric]) for run in runs] for bound in bounds_of(metric)]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Rows that may be compared: same data, features and settings of metrics. The only scale of a study has no name."""

    name: str
    rows: list[Row]
    floor: Row | None

    @property
    def runs(self) -> list[Record]:
        """The runs of its rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def lines(self) -> list[Row]:
        """The floor, if there is one, above the rows."""
        return [*([self.floor] if self.floor else []), *self.rows]

    def floor_of(self, metric: str) -> float | None:
        """What real images score in a metric, even if it is not a column; None if unknown."""
        floors = floors_of([run for row in self.rows for run in row.finished], [metric])
        return floors[metric].mean if metric in floors else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A study's table, and notes on what its numbers mean, what is missing and why, and what may not be compared.

    keys, scale_keys: the row keys, and the row keys that differ between scales
    baseline: the value that names the row which the others are tested against; None: no tests
    """

    keys: list[str]
    scale_keys: list[str]
    columns: list[Column]
    scales: list[Scale]
    baseline: str | None
    notes: list[str]

    @property
    def rows(self) -> list[Row]:
        """The rows of all scales, without floors."""
        return [row for scale in self.scales for row in scale.rows]

    @property
    def lines(self) -> list[Row]:
        """The rows and floors, as the table shows them."""
        return [line for scale in self.scales for line in scale.lines]

    @property
    def runs(self) -> list[Record]:
        """The runs of all rows."""
        return [run for scale in self.scales for run in scale.runs]

    @property
    def bounded_columns(self) -> list[Column]:
        """The columns of metrics that bounds leave open."""
        return [c for c in self.columns if any(row.cells[c.key].is_open for row in self.rows)]

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """The table in full precision.

        Columns: <row key>…, status, seeds (finished), runs (all), rank (mean over metrics), and <metric>.mean,
        <metric>.ci95 (half-width), <metric>.n; <metric>.low and .high where these differ; where there is a baseline,
        <metric>.difference, its .ci95 and, of the main columns, <metric>.p (adjusted within the column).
        """
        lines = self.lines
        # with dtype object the empty cells of a floor do not turn whole numbers into floats
        content: dict[str, Any] = {
            key: pd.Series([r.values.get(key) for r in lines], dtype=object) for key in self.keys
        }
        content |= {
            "status": pd.Series([row.status for row in lines], dtype=object),
            "seeds": np.array([row.seeds for row in lines], dtype=int),
            "runs": np.array([len(row.runs) for row in lines], dtype=int),
            "rank": np.array([row.rank for row in lines], dtype=float),
        }
        for column in self.columns:
            cells = [row.cells[column.key] for row in lines]
            content[f"{column.key}.mean"] = np.array([cell.mean for cell in cells], dtype=float)
            content[f"{column.key}.ci95"] = np.array([cell.interval for cell in cells], dtype=float)
            content[f"{column.key}.n"] = np.array([cell.n for cell in cells], dtype=int)
            if column in self.bounded_columns:
                content[f"{column.key}.low"] = np.array([cell.low for cell in cells], dtype=float)
                content[f"{column.key}.high"] = np.array([cell.high for cell in cells], dtype=float)
            if self.baseline is not None:
                differences = np.array([cell.difference for cell in cells], dtype=float)
                content[f"{column.key}.difference"] = differences
                intervals = np.array([cell.difference_interval for cell in cells], dtype=float)
                content[f"{column.key}.difference.ci95"] = intervals
                if column.main:
                    content[f"{column.key}.p"] = np.array([cell.p for cell in cells], dtype=float)
        return pd.DataFrame(content)


def floors_of(finished: Sequence[Record], metrics: Sequence[str]) -> dict[str, Cell]:
    """Metric -> what real images score in it; metrics without a known floor are left out.

    The mean over runs of `<quantity>/real`, measured in the same way; 1 for a ratio to what real images score.
    """
    reals: dict[str, list[float]] = {floor_key(key): [] for key in metrics}
    for run in finished:
        for real, values in reals.items():
            if real in run.metrics:
                values.append(run.metrics[real])
    floors = {}
    for key in metrics:
        quantity = key.split("/")[0]
        values = reals[floor_key(key)]
        if values:
            floors[key] = Cell(mean=float(np.mean(values)), n=len(values))
        elif quantity.endswith("_ratio") and any(key in run.metrics for run in finished):
            floors[key] = Cell(mean=1.0)
    return floors


def label_of(values: Mapping[str, Any]) -> str:
    """Values of row keys, joined by commas; values that are not text follow their key, such as `beta=1`."""
    return ", ".join(v if isinstance(v, str) else f"{key}={format_value(v)}" for key, v in values.items())


def format_value(value: Any) -> str:
    """A value of a row key as shown in tables."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def join_rows(labels: Collection[str], rows: Sequence[Row]) -> str:
    """Join labels of rows; all rows with the same value of the first row key are abbreviated to this value."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.first_label, []).append(row.label)
    listed = []
    for first_label, group in groups.items():
        present = [label for label in group if label in labels]
        listed += [first_label] if len(present) == len(group) else present
    return "; ".join(listed)

"""A study's table: rows of cells, on one or more scales."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from latentbench.records.record import Record
from latentbench.reporting.columns import Column

FLOOR = "floor"  # the status of a row of real images


@dataclasses.dataclass(kw_only=True)
class Cell:
    """A metric of a row: mean over its finished runs, half-width of the 95 % confidence interval, number of runs.

    p: of no difference from the baseline, after Holm's correction; nan where nothing was tested
    is_best: whether no row of the scale has a better mean
    differs: whether the row differs significantly from its baseline
    """

    mean: float = math.nan
    interval: float = math.nan
    n: int = 0
    p: float = math.nan
    is_best: bool = False
    differs: bool = False


@dataclasses.dataclass(kw_only=True, eq=False)
class Row:
    """A setting of the study, with its runs; or a floor, what real images score, which has none.

    index: its position in the table
    values: row key -> value; a floor has its scale's alone
    status: finished if some run is; floor; else what became of its runs
    seeds: number of finished runs; of a floor, of seeds behind it
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
        """Its values of all row keys; numbers with their key."""
        return label_of(self.values)

    @functools.cached_property
    def name(self) -> str:
        """Its name beside other rows of its scale."""
        return self.name_without(None)

    def name_without(self, key: str | None) -> str:
        """Its name beside rows that differ from it in `key` alone or belong to its scale."""
        own = {k: value for k, value in self.values.items() if k not in self.scale_keys and k != key}
        return label_of(own or self.values)

    @property
    def first_label(self) -> str:
        """Its value of the first row key."""
        return label_of(dict([next(iter(self.values.items()))]))

    @functools.cached_property
    def finished(self) -> list[Record]:
        """Its finished runs."""
        return [run for run in self.runs if run.status == "finished"]

    def by_seed(self, metric: str) -> dict[int, float]:
        """A metric of its finished runs."""
        return {run.choices["seed"]: run.metrics[metric] for run in self.finished if metric in run.metrics}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Rows that may be compared: same data, features and settings of metrics. A study with one scale has no name."""

    name: str
    rows: list[Row]
    floor: Row | None

    @property
    def lines(self) -> list[Row]:
        """The floor, if there is one, above the rows."""
        return [*([self.floor] if self.floor else []), *self.rows]

    def floor_of(self, metric: str) -> float | None:
        """What real images score in any metric, whether it is a column or not; None if unknown."""
        floors = floors_of([run for row in self.rows for run in row.finished], [metric])
        return floors[metric].mean if metric in floors else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A study's table, and notes on what its numbers mean, what is missing and why, and what may not be compared.

    keys, scale_keys: the row keys and, of these, those that tell scales apart
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
        return [run for row in self.rows for run in row.runs]

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """The table in full precision.

        Columns: <row key>…, status, seeds (finished), runs (all), rank (mean over metrics), and <metric>.mean,
        <metric>.ci95 (half-width), <metric>.n and, where there is a baseline, <metric>.p (adjusted).
        """
        lines = self.lines
        # dtype object keeps whole numbers whole beside the empty cells of a floor
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
            if self.baseline is not None:
                content[f"{column.key}.p"] = np.array([cell.p for cell in cells], dtype=float)
        return pd.DataFrame(content)


def floors_of(finished: Sequence[Record], metrics: Sequence[str]) -> dict[str, Cell]:
    """What real images score where a model scores each of `metrics`, as far as it is known.

    The mean over runs of `<quantity>/real`; 1 for a ratio to what real images score.
    """
    reals: dict[str, list[float]] = {f"{key.split('/')[0]}/real": [] for key in metrics}
    for run in finished:
        for real, values in reals.items():
            if real in run.metrics:
                values.append(run.metrics[real])
    floors = {}
    for key in metrics:
        quantity = key.split("/")[0]
        values = reals[f"{quantity}/real"]
        if values:
            floors[key] = Cell(mean=float(np.mean(values)), n=len(values))
        elif quantity.endswith("_ratio") and any(key in run.metrics for run in finished):
            floors[key] = Cell(mean=1.0)
    return floors


def label_of(values: Mapping[str, Any]) -> str:
    """Values of row keys in words; whatever is not text with its key."""
    return ", ".join(v if isinstance(v, str) else f"{key}={format_value(v)}" for key, v in values.items())


def format_value(value: Any) -> str:
    """A row key's value as a reader sees it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)

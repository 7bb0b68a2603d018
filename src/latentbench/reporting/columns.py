"""The metrics of a table: their units and direction, and the values that a row's runs give them."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from latentbench.errors import UserError
from latentbench.records.record import Record

ARROWS = {True: " \N{UPWARDS ARROW}", False: " \N{DOWNWARDS ARROW}", None: ""}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A metric of the table; `higher_is_better` is None if neither direction is."""

    key: str
    units: str = ""
    higher_is_better: bool | None = None

    @property
    def heading(self) -> str:
        """The key with its direction and units."""
        return f"{self.key}{ARROWS[self.higher_is_better]}{f' ({self.units})' if self.units else ''}"

    @property
    def ranks(self) -> bool:
        """Whether one row can be better than another in it."""
        return self.higher_is_better is not None and not self.key.endswith("/real")


def columns_of(records: Sequence[Record], wanted: Sequence[str] | None) -> tuple[list[Column], list[str]]:
    """The columns that some record has or says why not, and a note on those that none has.

    Raises: UserError if none has any of those that are wanted.
    """
    recorded = {key for record in records for key in record.metrics}
    known = recorded | {key for record in records for key in record.skipped}
    keys = sorted(recorded, key=lambda key: key.split("/")) if wanted is None else list(dict.fromkeys(wanted))
    absent = [key for key in keys if key not in known]
    unclear = []
    if absent and recorded:
        there = ", ".join(sorted(recorded))
        unclear = [f"no record has {', '.join(absent)} (table.columns); there are: {there}"]
        keys = [key for key in keys if key in known]
    if recorded and not keys:
        raise UserError(*unclear or ["table.columns is empty: null shows every metric"])
    facts = _facts(records)
    unclear += [
        f"the records disagree on units or direction of {key}: its best is not marked"
        for key in keys
        if len(facts.get(key.split("/")[0], ())) > 1
    ]
    return [_column(key, facts) for key in keys], unclear


def column_of(records: Sequence[Record], key: str) -> Column:
    """A metric as the records describe it; without units and direction where they disagree."""
    return _column(key, _facts(records))


def _column(key: str, facts: Mapping[str, Collection[tuple[str, bool | None]]]) -> Column:
    described = facts.get(key.split("/")[0], ())
    units, direction = next(iter(described)) if len(described) == 1 else ("", None)
    return Column(key=key, units=units, higher_is_better=direction)


def _facts(records: Sequence[Record]) -> dict[str, set[tuple[str, bool | None]]]:
    """Units and direction of every metric, as often as the records disagree on them."""
    found: dict[str, set[tuple[str, bool | None]]] = {}
    for record in records:
        for stem, fact in ((record.config.get("resolved") or {}).get("metrics") or {}).items():
            found.setdefault(stem, set()).add((str(fact.get("units") or ""), fact.get("higher_is_better")))
    return found


def floors_of(finished: Sequence[Record], keys: Sequence[str]) -> dict[str, tuple[float, int]]:
    """What real images score where a model scores each of `keys`, if known, and of how many runs that is the mean."""
    reals: dict[str, list[float]] = {f"{key.split('/')[0]}/real": [] for key in keys}
    for run in finished:
        for real, values in reals.items():
            if real in run.metrics:
                values.append(run.metrics[real])
    floors = {}
    for key in keys:
        stem = key.split("/")[0]
        values = reals[f"{stem}/real"]
        if values:
            floors[key] = float(np.mean(values)), len(values)
        elif stem.endswith("_ratio") and any(key in run.metrics for run in finished):
            floors[key] = 1.0, 0
    return floors


def by_seed(runs: Sequence[Record], key: str) -> dict[int, float]:
    """A metric of the finished runs of a row, by their seed."""
    return {run.choices["seed"]: run.metrics[key] for run in runs if run.status == "finished" and key in run.metrics}

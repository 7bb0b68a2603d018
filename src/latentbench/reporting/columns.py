"""The columns of a table: which metrics to show, with their units and direction."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from latentbench.configuration.catalogue import option_file
from latentbench.errors import UserError
from latentbench.records.keys import CLASSIFIER, VALIDATION, is_floor, parse_set, view_of
from latentbench.records.record import Record

ARROWS = {True: " \N{UPWARDS ARROW}", False: " \N{DOWNWARDS ARROW}", None: ""}

MAX_SECONDARY = 4  # the probabilities of a wrong mark add up over columns

UnitsAndDirection = tuple[str, bool | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A metric of the table.

    higher_is_better: None if neither direction is better
    main: its place among the main columns, which the study tests, from 1 on; 0: it is only shown
    """

    key: str
    units: str = ""
    higher_is_better: bool | None = None
    main: int = 0

    @property
    def heading(self) -> str:
        """The key with its direction and units."""
        return f"{self.key}{ARROWS[self.higher_is_better]}{f' ({self.units})' if self.units else ''}"

    @property
    def is_ranked(self) -> bool:
        """Whether rows are ranked by it. The score of real images is not: it is the same for every row."""
        return self.higher_is_better is not None and not is_floor(self.key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measures:
    """The main columns, which a study tests: what it is about, and a few more. Raises: UserError for too many."""

    primary: str | None = None
    secondary: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(self.secondary) > MAX_SECONDARY:
            raise UserError(f"table.secondary: {len(self.secondary)} measures; name {MAX_SECONDARY} at most")
        if self.primary in self.secondary:
            raise UserError(f"table.secondary: {self.primary} is the primary measure already; leave it out")

    def place(self, key: str) -> int:
        """The place of a metric among the main columns, from 1 on; 0 if it is none."""
        keys = [self.primary, *self.secondary]
        return keys.index(key) + 1 if key in keys else 0


def bounds_of(key: str) -> tuple[str, str]:
    """The metrics that bound this one from below and from above; a metric that has one of them is the other itself."""
    quantity, _, of_what = key.partition("/")
    return f"{quantity}_lower/{of_what}", f"{quantity}_upper/{of_what}"


def choose_columns(
    records: Sequence[Record], keys: Sequence[str] | None, measures: Measures
) -> tuple[list[Column], list[str]]:
    """The columns of a table, and notes on those that cannot be shown or ranked.

    keys: the metrics to show; None: every metric that was recorded, but no bound of another, with which it is shown. A
        metric that was skipped everywhere is a column. Where records have them against validation images alone, as
        trials do, these are shown.

    Raises: UserError if no record has or skips any of `keys`.
    """
    recorded = {key for record in records for key in record.metrics}
    known = recorded | {key for record in records for key in record.skipped}
    if keys is None:
        bounds = {bound for key in recorded for bound in bounds_of(key)}
        keys = sorted(recorded - bounds, key=lambda key: key.split("/"))
    else:
        keys = list(dict.fromkeys(keys))
    notes = []
    against_validation = [key for key in map(_against_validation, keys) if key in known]
    if against_validation and not known & {*keys}:  # of trials alone
        keys = against_validation
        notes = [
            "no record has a number of these columns against test images: shown are those against validation images"
        ]
    # Features are left out without a word if no run was measured in them: default tables name two kinds.
    kinds = {CLASSIFIER, *(view_of(key).features for key in known)}
    keys = [key for key in keys if view_of(key).features in kinds or not _are_features(key)]
    absent = [key for key in keys if key not in known]
    if absent and recorded:
        notes += [f"no record has {', '.join(absent)} (table.columns); recorded: {', '.join(sorted(recorded))}"]
        keys = [key for key in keys if key in known]
    if recorded and not keys:
        raise UserError(*notes or ["table.columns is empty; null shows every metric"])
    facts = _facts(records)
    described = {key: facts.get(key.split("/")[0], set()) for key in keys}
    mixed = [key for key in keys if len(described[key]) > 1]
    notes += [
        f"the records disagree on the units or direction of {key} "
        f"({'; '.join(sorted({units for units, _ in described[key]}))}): no best is marked, and nothing is tested"
        for key in mixed
    ]
    columns = [
        dataclasses.replace(_column(key, facts), main=0 if key in mixed else measures.place(key)) for key in keys
    ]
    if measures.primary and measures.primary not in keys:
        notes.append(f"the primary measure {measures.primary} (table.primary) is not a column")
    return columns, notes


def _against_validation(key: str) -> str:
    """The key of the same number, measured against validation images."""
    quantity, _, recorded = key.partition("/")
    set_name, view = parse_set(recorded)
    return f"{quantity}/{view._replace(split=VALIDATION).recorded(set_name)}"


def _are_features(key: str) -> bool:
    """Whether the features of a key are an option."""
    return option_file("features", str(view_of(key).features)) is not None


def describe_column(records: Sequence[Record], key: str) -> Column:
    """A column with the units and direction of the records; without them if the records disagree."""
    return _column(key, _facts(records))


def _column(key: str, facts: Mapping[str, Collection[UnitsAndDirection]]) -> Column:
    described = facts.get(key.split("/")[0], ())
    units, direction = next(iter(described)) if len(described) == 1 else ("", None)
    return Column(key=key, units=units, higher_is_better=direction)


def _facts(records: Sequence[Record]) -> dict[str, set[UnitsAndDirection]]:
    """Quantity -> its units and direction; several pairs if the records disagree."""
    facts: dict[str, set[UnitsAndDirection]] = {}
    for record in records:
        for quantity, fact in ((record.config.get("resolved") or {}).get("metrics") or {}).items():
            facts.setdefault(quantity, set()).add((str(fact.get("units") or ""), fact.get("higher_is_better")))
    return facts

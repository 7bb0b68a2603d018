"""Makes the table of a study from its records: a row per setting, with means and confidence intervals over its seeds.

Only seeds are averaged over: anything else that differs between runs becomes a row key.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentbench.records.record import Record
from latentbench.reporting import notes
from latentbench.reporting.columns import Column, Measures, choose_columns
from latentbench.reporting.comparison import compare_with_baseline, mark_best, rank_rows
from latentbench.reporting.grouping import Grouping, RowValues, group_runs
from latentbench.reporting.significance import mean_interval
from latentbench.reporting.summary import FLOOR, Cell, Row, Scale, Summary, floors_of, label_of
from latentbench.reporting.training_notes import training_notes
from latentbench.reporting.yardsticks import disagreements


def summarize(
    records: Sequence[Record],
    *,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    order: Mapping[str, Sequence[str]] | None = None,
    baseline: Any = None,
    measures: Measures | None = None,
) -> Summary:
    """The table of a study: a row per value of `rows`, a column per metric (None: every metric that was recorded).

    order: row key -> its values in the order in which rows are shown, as the study's grid lists them; others are sorted
    baseline: a value of a row key; every row is tested against the row with this value or, if there are several,
        against the one whose other row keys are equal (None: no tests)
    measures: the metrics that are tested (None: no metric)

    Raises: UserError if a key of `rows` is in no record.
    """
    grouping = group_runs(records, rows)
    table_columns, column_notes = choose_columns(records, columns, measures or Measures())
    scales = _make_scales(grouping, table_columns, order or {})
    mark_best(scales, table_columns)
    rank_counts = rank_rows(scales, table_columns)
    tests = None if baseline is None else compare_with_baseline(scales, table_columns, str(baseline), rows)
    summary = Summary(
        keys=grouping.keys,
        scale_keys=grouping.scale_keys,
        columns=table_columns,
        scales=scales,
        baseline=None if baseline is None else str(baseline),
        notes=[],
    )
    summary.notes.extend(
        notes.features_and_counts({scale.name: scale.runs for scale in scales}, {c.key for c in table_columns})
        + notes.few_images(summary)
        + notes.ranks(rank_counts) + notes.baseline_tests(summary, tests) + notes.bounds(summary)
        + disagreements(summary) + training_notes(summary) + notes.incomplete(summary) + notes.unfinished(summary)
        + notes.skipped(summary) + notes.caveats(summary) + column_notes + notes.added_keys(summary, rows)
        + notes.common_settings(grouping.common) + grouping.repeats
        + notes.versions(records) + notes.unequal_floors(summary)
    )  # fmt: skip
    return summary


def _make_scales(grouping: Grouping, columns: Sequence[Column], order: Mapping[str, Sequence[str]]) -> list[Scale]:
    """Rows sorted by scale, then by row keys, each scale headed by its floor."""
    positions = {(key, value): position for key, values in order.items() for position, value in enumerate(values)}

    def sort_key(row: RowValues) -> list[Any]:
        items = zip(grouping.keys, row, strict=True)
        return [(positions.get((key, str(value)), math.inf), _value_sort_key(value)) for key, value in items]

    scale_positions = [grouping.keys.index(key) for key in grouping.scale_keys]
    rows_of_scale: dict[RowValues, list[RowValues]] = {}
    for row in sorted(grouping.runs, key=sort_key):
        rows_of_scale.setdefault(tuple(row[i] for i in scale_positions), []).append(row)
    scales: list[Scale] = []
    index = 0
    for of_scale, settings in sorted(
        rows_of_scale.items(), key=lambda item: [_value_sort_key(value) for value in item[0]]
    ):
        scale_values = dict(zip(grouping.scale_keys, of_scale, strict=True))
        runs = [run for row in settings for run in grouping.runs[row]]
        floor = _make_floor(index, scale_values, runs, columns)
        index += floor is not None
        rows = [
            _make_row(i, dict(zip(grouping.keys, row, strict=True)), grouping, grouping.runs[row], columns)
            for i, row in enumerate(settings, index)
        ]
        index += len(rows)
        scales.append(Scale(name=label_of(scale_values), rows=rows, floor=floor))
    return scales


def _value_sort_key(value: Any) -> tuple[bool, float, str]:
    """Sort numbers before texts."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, "" if number else str(value)


def _make_row(
    index: int, values: dict[str, Any], grouping: Grouping, runs: list[Record], columns: Sequence[Column]
) -> Row:
    finished = [run for run in runs if run.status == "finished"]
    row = Row(
        index=index,
        values=values,
        scale_keys=grouping.scale_keys,
        status="finished" if finished else "/".join(sorted({run.status for run in runs})),
        seeds=len(finished),
        runs=runs,
        cells={},
    )
    for column in columns:
        mean, interval, n = mean_interval(row.numbers(column.key))
        low, high = (mean_interval(values)[0] for values in row.bounds(column.key))
        row.cells[column.key] = Cell(mean=mean, interval=interval, n=n, low=low, high=high)
    return row


def _make_floor(
    index: int, scale_values: dict[str, Any], runs: Sequence[Record], columns: Sequence[Column]
) -> Row | None:
    """The row of real images; None if it has no number."""
    finished = [run for run in runs if run.status == "finished"]
    metrics = [column.key for column in columns]
    floors = floors_of(finished, metrics)
    if not floors:
        return None
    return Row(
        index=index,
        values=scale_values,
        scale_keys=list(scale_values),
        status=FLOOR,
        seeds=len({run.choices["seed"] for run in finished}),
        runs=[],
        cells={key: Cell() for key in metrics} | floors,
    )

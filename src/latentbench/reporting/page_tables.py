"""The sortable tables of a study's page."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from latentbench.reporting.columns import Column
from latentbench.reporting.findings import Finding, sections
from latentbench.reporting.formats import difference_text, grid
from latentbench.reporting.grouping import MISSING
from latentbench.reporting.summary import Row, Summary

MINUS = "\N{MINUS SIGN}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyCell:
    """A row key's value, the number of seeds or the mean rank: its text, and the number to sort by if it has one."""

    text: str
    is_number: bool
    value: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricCell:
    """A metric: its text, the unrounded number to sort by, its difference from the baseline and the verdict on that.

    difference: with the half-width of its 95 % confidence interval
    verdict: `better` or `worse` if the difference is significant, else empty
    """

    text: str
    value: float | None
    is_best: bool
    difference: str
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageRow:
    """A line of a table."""

    row: Row
    keys: list[KeyCell]
    cells: list[MetricCell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageTable:
    """Some columns of the summary; `blocks` holds its rows scale by scale."""

    title: str
    columns: list[Column]
    blocks: list[list[PageRow]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageTables:
    """The tables of a page.

    headings: headings of the columns before the metrics: row keys, seeds and, if rows are ranked, the mean rank
    texts: row -> metric -> the text of the cell
    """

    headings: list[str]
    texts: dict[Row, dict[str, str]]
    tables: list[PageTable]


def make_tables(summary: Summary, findings: Sequence[Finding]) -> PageTables:
    """One table per section of `findings.sections`."""
    header, body = grid(summary, str, str)
    n_keys = len(header) - len(summary.columns)
    metrics = [column.key for column in summary.columns]
    lines = summary.lines
    texts = {row: dict(zip(metrics, line[n_keys:], strict=True)) for row, line in zip(lines, body, strict=True)}
    key_cells = dict(zip(lines, _key_cells(summary, [line[:n_keys] for line in body]), strict=True))
    tables = []
    for title, columns in sections(summary).items():
        cells = {row: _metric_cells(row, columns, findings, texts[row]) for row in lines}
        blocks = [
            [
                PageRow(row=row, keys=key_cells[row], cells=cells[row])
                for row in scale.lines
                if not row.is_floor or any(cell.value is not None for cell in cells[row])
            ]
            for scale in summary.scales
        ]
        tables.append(PageTable(title=title, columns=columns, blocks=blocks))
    return PageTables(headings=header[:n_keys], texts=texts, tables=tables)


def _metric_cells(
    row: Row, columns: Sequence[Column], findings: Sequence[Finding], texts: Mapping[str, str]
) -> list[MetricCell]:
    found = {finding.column.key: finding for finding in findings if row in finding.differences}
    cells = []
    for column in columns:
        cell, finding = row.cells[column.key], found.get(column.key)
        cells.append(
            MetricCell(
                text=texts[column.key],
                value=None if math.isnan(cell.mean) else cell.mean,
                is_best=cell.is_best,
                difference=re.sub("^-", MINUS, difference_text(cell)),
                verdict="" if not finding else "better" * (row in finding.better) + "worse" * (row in finding.worse),
            )
        )
    return cells


def _key_cells(summary: Summary, texts: Sequence[Sequence[str]]) -> list[list[KeyCell]]:
    """The cells before the metrics, line by line. texts: the texts of these cells."""
    lines = summary.lines
    values = [[row.values.get(key) for row in lines] for key in summary.keys]
    values += [[row.seeds for row in lines], [None if math.isnan(row.rank) else row.rank for row in lines]]
    columns = []
    for column_values, column_texts in zip(values, zip(*texts, strict=True), strict=False):
        is_number = all(isinstance(value, int | float) for value in column_values if value not in (None, MISSING))
        cells = zip(column_values, column_texts, strict=True)
        columns.append([_key_cell(value, text, is_number) for value, text in cells])
    return [list(line) for line in zip(*columns, strict=True)]


def _key_cell(value: object, text: str, is_number: bool) -> KeyCell:
    number = float(value) if is_number and isinstance(value, int | float) and text else None
    return KeyCell(text=text, is_number=is_number, value=number)


def signed(difference: float) -> str:
    """A difference with its sign."""
    return f"{MINUS if difference < 0 else '+'}{abs(difference):.3g}"

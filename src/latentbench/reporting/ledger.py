"""What is printed of published numbers beside ours: below a study's table, and in the ledger of all studies."""

import csv
import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from latentbench.records.record import write_atomically
from latentbench.reporting.formats import PLUS_MINUS, decimals, escape_latex, escape_markdown
from latentbench.reporting.published_numbers import Comparison

CSV_NAME = "published.csv"  # beside the table.csv of a study
LEDGER_NAME = "ledger.md"
TITLE = "Published beside ours"
HEADINGS = ["number", "ours", "published", "standard errors apart", "reproduced if", "verdict", "source"]
CAPTION = (
    f"Ours: mean {PLUS_MINUS} standard error, over seeds, or over test images for a single run. Published numbers with "
    f"{PLUS_MINUS} have their standard error. Two terms of a difference or a ratio count as independent. Recalled: the "
    "source itself could not be read. Computed: by the formula of the source."
)
LEDGER = """# Ledger

Numbers of papers, or of their formulas, beside ours, of every published study that has some. A number is reproduced if
ours lies within the limits beside it, however many standard errors apart they are. Where there is one limit alone, such
as that of a sign, ours has to be two standard errors away from it, or else the number is undecided. Each study's file
in [`sweeps/`](../sweeps) has the protocol, says where it differs, and gives the reason for the limits.
`latentbench-tables` writes this page whenever a study is published.
"""


def cells(comparison: Comparison) -> list[str]:
    """A line of the table, in the order of `HEADINGS`."""
    number = comparison.published
    apart = comparison.errors_apart
    read = {"seen": "", "recalled": " (recalled)", "computed": " (computed)"}[number.read]
    return [
        str(number),
        "" if comparison.remark else _with_error(comparison.ours, comparison.error),
        _with_error(number.value, math.nan if number.error is None else number.error),
        "" if math.isnan(apart) else f"{apart:+.1f}",
        _limits(number.low, number.high),
        comparison.verdict,
        number.source + read,
    ]


def _with_error(value: float, error: float) -> str:
    if math.isnan(error):
        return f"{value:.5g}"
    places = max(0, decimals(value, error) + 1)  # one more than a table has, since two numbers are compared
    return f"{value:.{places}f} {PLUS_MINUS} {error:.{places}f}"


def _limits(low: float, high: float) -> str:
    if math.isinf(low):
        return f"at most {high:g}"
    return f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"


def remarks(comparisons: Sequence[Comparison]) -> list[str]:
    """The reasons for the limits, each with the numbers that it is for; and the causes of what was missed."""
    numbers_of: dict[str, list[str]] = {}
    for comparison in comparisons:
        numbers_of.setdefault(comparison.published.why, []).append(str(comparison.published))
    found = [f"limits of {'; '.join(numbers)}: {why}" for why, numbers in numbers_of.items()]
    missed = [comparison.published for comparison in comparisons if comparison.verdict == "missed"]
    return found + [f"missed: {number}: {number.cause or 'the cause is not known'}" for number in missed]


def verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence on how many numbers are reproduced, and which are not; none without published numbers."""
    if not comparisons:
        return []
    others: dict[str, list[str]] = {}
    for comparison in comparisons:
        others.setdefault(comparison.verdict, []).append(str(comparison.published))
    n = len(others.pop("reproduced", []))
    left = "".join(f"; {verdict}: {'; '.join(numbers)}" for verdict, numbers in others.items())
    return [f"Published numbers that are reproduced: {n} of {len(comparisons)}{left}."]


def published_text(comparisons: Sequence[Comparison], *, width: int = 120) -> str:
    """For a terminal of `width` characters."""
    numbers = [cells(each) for each in comparisons]
    narrow = [30, None, None, 9, 10, 12, max(20, width - 100)]
    table = tabulate(numbers, HEADINGS, tablefmt="simple", disable_numparse=True, maxcolwidths=narrow)
    lines = [CAPTION, *(f"- {line}" for line in remarks(comparisons))]
    return "\n\n".join([TITLE, table, "\n".join(textwrap.fill(line, width) for line in lines)])


def published_markdown(comparisons: Sequence[Comparison]) -> str:
    """A section below a table."""
    lines = "\n".join(f"- {escape_markdown(line)}" for line in remarks(comparisons))
    return "\n\n".join([f"## {TITLE}", _markdown_table(list(map(cells, comparisons))), CAPTION, lines]) + "\n"


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    body = [[escape_markdown(cell) for cell in row] for row in rows]
    aligned = ["left", "right", "right", "right", "left", "left", "left"]
    return str(tabulate(body, HEADINGS, tablefmt="pipe", disable_numparse=True, colalign=aligned))


def published_latex(comparisons: Sequence[Comparison]) -> str:
    """A tabular for the booktabs package, of its own below the study's."""
    body = [" & ".join(map(escape_latex, cells(each))) + r" \\" for each in comparisons]
    lines = [*(f"% {escape_latex(line)}" for line in (TITLE, CAPTION, *remarks(comparisons)))]
    lines += [r"\begin{tabular}{lrrrlll}", r"\toprule", " & ".join(HEADINGS) + r" \\", r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def published_csv(comparisons: Sequence[Comparison]) -> str:
    """The cells of the table, then the numbers in full precision and the texts."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    exact = ["ours.mean", "ours.error", "ours.n", "published.value", "published.error", "low", "high", "why", "cause"]
    writer.writerow([*HEADINGS, *exact])
    for each in comparisons:
        number = each.published
        numbers = (each.ours, each.error, each.n, number.value, number.error, number.low, number.high)
        known = ["" if x is None or not math.isfinite(x) else x for x in numbers]
        writer.writerow([*cells(each), *known, number.why, number.cause])
    return content.getvalue()


def write_ledger(results: Path) -> list[Path]:
    """Write the page of all studies below `results` that have a `published.csv`, and return it if there are any."""
    sections = []
    for path in sorted(results.glob(f"*/*/{CSV_NAME}")):
        study, data = path.parts[-3:-1]
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        table = _markdown_table([[line[heading] for heading in HEADINGS] for line in lines])
        missed = [
            f"- missed: {escape_markdown(line['number'])}: {escape_markdown(line['cause']) or 'the cause is not known'}"
            for line in lines
            if line["verdict"] == "missed"
        ]
        where = (path.parent / "table.md").relative_to(results)
        head = f"## [{study} on {data}]({where})" if (results / where).is_file() else f"## {study} on {data}"
        sections += [head, table, *(["\n".join(missed)] if missed else [])]
    page = results / LEDGER_NAME
    if not sections:
        page.unlink(missing_ok=True)
        return []
    write_atomically(page, ("\n\n".join([LEDGER.rstrip(), CAPTION, *sections]) + "\n").encode())
    return [page]

"""A study's table as text, Markdown, LaTeX and CSV."""

import math
import re
import statistics
import textwrap
from collections.abc import Callable

from tabulate import tabulate

from latentbench.reporting.summary import FLOOR, Summary, shown

FLOOR_LABEL = "real images (floor)"
SKIPPED = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
RANK = "mean rank"
DIFFERENT = "\N{DAGGER}"  # from the baseline
CAPTION = (
    f"Mean {PLUS_MINUS} half-width of its 95 % confidence interval over seeds (Student's t, n - 1 degrees of "
    f"freedom); the mean alone where there is one seed; n where it is not the number of seeds. {SKIPPED}: "
    "skipped, for the reason below; empty: not measured."
)
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", SKIPPED: "--", PLUS_MINUS: r"$\pm$",
    "\N{UPWARDS ARROW}": r"$\uparrow$", "\N{DOWNWARDS ARROW}": r"$\downarrow$", DIFFERENT: r"$^{\dagger}$",
}  # fmt: skip


def to_csv(summary: Summary) -> str:
    """Full precision: row keys, status, seeds, runs, rank, and <metric>.mean, .ci95 (half-width), .n and .p."""
    return str(summary.table.to_csv(index=False))


def to_text(summary: Summary, *, width: int = 120) -> str:
    """For a terminal of `width` characters: wider tables are split into blocks of columns; best marked *."""
    header, body = grid(summary, _same, lambda cell: f"{cell}*")
    n_keys = len(summary.keys) + 1
    widths = [max(map(len, column)) + 2 for column in zip(header, *body, strict=True)]
    blocks: list[list[int]] = [[]]
    for column in range(n_keys, len(header)):
        used = sum(widths[:n_keys]) + sum(widths[i] for i in blocks[-1])
        if blocks[-1] and used + widths[column] > width:
            blocks.append([])
        blocks[-1].append(column)
    tables = []
    for block in blocks:
        chosen = [*range(n_keys), *block]
        rows = [[row[i] for i in chosen] for row in body]
        aligned = ["left"] * (n_keys - 1) + ["right"] * (1 + len(block))
        head = [header[i] for i in chosen]
        tables.append(tabulate(rows, head, tablefmt="simple", disable_numparse=True, colalign=aligned))
    notes = [f"{CAPTION} *: best.", *(f"- {note}" for note in _lines(summary))]
    return "\n\n".join(tables) + "\n\n" + "\n".join(textwrap.fill(note, width) for note in notes)


def to_markdown(summary: Summary, *, title: str, question: str | None = None) -> str:
    """A document: title, question, table (best in bold), caption and notes."""
    header, body = grid(summary, _escape_markdown, lambda cell: f"**{cell}**")
    aligned = ["left"] * len(summary.keys) + ["right"] * (len(header) - len(summary.keys))
    table = tabulate(body, header, tablefmt="pipe", disable_numparse=True, colalign=aligned)
    asked = [" ".join(question.split())] if question else []
    notes = "\n".join(f"- {_escape_markdown(note)}" for note in _lines(summary))
    return "\n\n".join([f"# {title}", *asked, table, f"{CAPTION} Bold: best.", *([notes] if notes else [])]) + "\n"


def to_latex(summary: Summary) -> str:
    """A tabular for the booktabs package, best in bold; caption and notes stand above it as comments."""
    header, body = grid(summary, _escape_latex, lambda cell: rf"\textbf{{{cell}}}")
    comments = [r"\usepackage{booktabs}", _escape_latex(f"{CAPTION} Bold: best."), *_lines(summary)]
    scales = [tuple(summary.table.loc[i, key] for key in summary.scale) for i in summary.table.index]
    lines = [f"% {comment}" for comment in comments]
    alignment = "l" * len(summary.keys) + "r" * (len(header) - len(summary.keys))
    lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", " & ".join(header) + r" \\"]
    for index, row in enumerate(body):
        if index == 0 or scales[index] != scales[index - 1]:
            lines.append(r"\midrule")
        lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _same(text: str) -> str:
    return text


def _escape_markdown(text: str) -> str:
    """Backslashes before what Markdown would read as markup; the underscore of a word is none."""
    return re.sub(r"([\\`*|<])|(?<![^\W_])(_)|(_)(?![^\W_])", r"\\\g<0>", text)


def _escape_latex(text: str) -> str:
    text = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", text)  # a minus sign, where a number has one


def _lines(summary: Summary) -> list[str]:
    return [" ".join(note.split()) for note in summary.notes]


def grid(
    summary: Summary, escape: Callable[[str], str], mark: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table, both put through `escape`, the best cells through `mark` after it."""
    header = [*summary.keys, "seeds"]
    columns = []
    if summary.table["rank"].notna().any():
        header.append(RANK)
        columns.append(["" if math.isnan(rank) else f"{rank:.1f}" for rank in summary.table["rank"]])
    for column in summary.columns:
        header.append(column.heading)
        cells = [escape(cell) for cell in _cells(summary, column.key)]
        columns.append([mark(c) if (i, column.key) in summary.best else c for i, c in enumerate(cells)])
    body = [
        [*(escape(cell) for cell in _head(summary, index)), *(column[index] for column in columns)]
        for index in range(len(summary.table))
    ]
    return [escape(name) for name in header], body


def _head(summary: Summary, index: int) -> list[str]:
    """A row's keys and its number of seeds."""
    row = summary.table.loc[index]
    if row["status"] != FLOOR:
        seeds = str(row["seeds"]) if row["seeds"] == row["runs"] else f"{row['seeds']} of {row['runs']}"
        return [*(shown(row[key]) for key in summary.keys), seeds]
    cells = {key: shown(row[key]) if key in summary.scale else "" for key in summary.keys}
    place = next((key for key in summary.keys if key not in summary.scale), summary.keys[0])
    cells[place] = f"{cells[place]} {FLOOR_LABEL}".strip()
    return [*cells.values(), ""]


def _cells(summary: Summary, key: str) -> list[str]:
    """A metric's column, to the precision that its intervals (else its means) ask for."""
    table = summary.table
    numbers = list(
        zip(table[f"{key}.mean"], table[f"{key}.ci95"], table[f"{key}.n"], table["status"], table["seeds"], strict=True)
    )
    there = [
        decimals(mean, interval) for mean, interval, _, status, _ in numbers if not math.isnan(mean) and status != FLOOR
    ]
    usual = statistics.median_high(there) if there else 0
    cells = []
    for index, (mean, interval, n, status, seeds) in enumerate(numbers):
        if math.isnan(mean):
            cells.append(_empty(summary, index, key))
            continue
        own = decimals(mean, interval)
        # one precision for all, but no digit of noise too many nor of the interval too few
        places = max(0, min(max(usual, own), own + 2))
        cell = _number(mean, places)
        if not math.isnan(interval):
            cell += f" {PLUS_MINUS} {_number(interval, places)}"
        fewer = status != FLOOR and n != seeds
        different = DIFFERENT * ((index, key) in summary.different)
        cells.append(f"{cell} (n={n}){different}" if fewer else f"{cell}{different}")
    return cells


def _empty(summary: Summary, index: int, key: str) -> str:
    """What stands where no run has the metric: the status of runs that did not finish, or a dash."""
    status = summary.table.loc[index, "status"]
    if status not in (FLOOR, "finished"):
        return str(status)
    return SKIPPED if any(key in run.skipped for run in summary.runs.get(index, [])) else ""


def decimals(mean: float, interval: float) -> int:
    """Decimals that show an interval to one digit (two if the first is a 1), or a bare mean to three.

    Negative where digits before the point are noise already.
    """
    value, digits = (abs(mean), 3) if math.isnan(interval) or interval == 0 else (interval, 1)
    if value == 0:
        return 0
    exponent = math.floor(math.log10(value))
    if digits == 1 and value < 2 * 10.0**exponent:
        digits = 2
    return digits - 1 - exponent


def _number(value: float, places: int) -> str:
    if places > 6 or abs(value) >= 1e7:
        return f"{value:.3g}"
    return f"{round(value, places) + 0.0:.{places}f}"  # + 0.0 turns -0.0 into 0.0

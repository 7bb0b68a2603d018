"""A study's table as text, Markdown, LaTeX and CSV."""

import itertools
import math
import re
import statistics
import textwrap
from collections.abc import Callable, Sequence

from tabulate import tabulate

from latentbench.reporting.summary import Cell, Row, Summary, format_value

FLOOR_LABEL = "real images (floor)"
SKIPPED_MARK = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
RANK = "mean rank"
DIFFERS = "\N{DAGGER}"  # mark of a significant difference from the baseline
CAPTION = (
    f"Mean {PLUS_MINUS} half-width of its 95 % confidence interval over seeds (Student's t, n - 1 degrees of "
    f"freedom); only the mean if there is one seed; n where it is not the number of seeds. {SKIPPED_MARK}: skipped, "
    "for the reason below; empty: not measured."
)
BEST = "best of the rows without a caveat."  # what is marked
DIFFERENCES = (
    f"Difference from the baseline {PLUS_MINUS} half-width of the 95 % confidence interval of this difference alone, "
    "which misses the truth about once in twenty. Empty: bounds leave a number open, or no two seeds differ."
)
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", SKIPPED_MARK: "--", PLUS_MINUS: r"$\pm$",
    "\N{UPWARDS ARROW}": r"$\uparrow$", "\N{DOWNWARDS ARROW}": r"$\downarrow$", DIFFERS: r"$^{\dagger}$",
}  # fmt: skip


def to_csv(summary: Summary) -> str:
    """Full precision: row keys, status, seeds, runs, rank, and <metric>.mean, .ci95 (half-width), .n, .p and more."""
    return str(summary.table.to_csv(index=False))


def to_text(summary: Summary, *, width: int = 120) -> str:
    """For a terminal of `width` characters: a wide table is split into blocks of columns; * marks the best."""
    header, body = grid(summary, str, lambda cell: f"{cell}*")
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
    notes = [f"{CAPTION} *: {BEST}", *(f"- {note}" for note in _one_line_notes(summary))]
    return "\n\n".join(tables) + "\n\n" + "\n".join(textwrap.fill(note, width) for note in notes)


def to_markdown(summary: Summary, *, title: str, question: str | None = None, records: str | None = None) -> str:
    """A document: title, question, table (best in bold), caption and notes; differences from the baseline.

    records: the path of the records, to which a link leads
    """
    table = _markdown_table(summary, *grid(summary, escape_markdown, lambda cell: f"**{cell}**"))
    questions = [" ".join(question.split())] if question else []
    links = [f"[The record of every run]({records})"] if records else []
    notes = "\n".join(f"- {escape_markdown(note)}" for note in _one_line_notes(summary))
    parts = [f"# {title}", *questions, *links, table, f"{CAPTION} Bold: {BEST}", *([notes] if notes else [])]
    header, body = difference_grid(summary, escape_markdown)
    if body:
        parts += ["## Differences from the baseline", _markdown_table(summary, header, body), DIFFERENCES]
    return "\n\n".join(parts) + "\n"


def _markdown_table(summary: Summary, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    aligned = ["left"] * len(summary.keys) + ["right"] * (len(header) - len(summary.keys))
    return str(tabulate(body, header, tablefmt="pipe", disable_numparse=True, colalign=aligned))


def to_latex(summary: Summary) -> str:
    """A tabular for the booktabs package, best in bold, and one of the differences from the baseline.

    Captions and notes stand above them as comments.
    """
    header, body = grid(summary, escape_latex, lambda cell: rf"\textbf{{{cell}}}")
    comments = [r"\usepackage{booktabs}", escape_latex(f"{CAPTION} Bold: {BEST}"), *_one_line_notes(summary)]
    lines = [f"% {comment}" for comment in comments]
    lines += _tabular(summary, header, body, [len(scale.lines) for scale in summary.scales])
    header, body = difference_grid(summary, escape_latex)
    if body:
        lines += ["", f"% {escape_latex(DIFFERENCES)}"]
        lines += _tabular(summary, header, body, [len(_compared(scale.rows)) for scale in summary.scales])
    return "\n".join(lines) + "\n"


def _tabular(
    summary: Summary, header: Sequence[str], body: Sequence[Sequence[str]], of_scales: Sequence[int]
) -> list[str]:
    """The lines of a tabular with a rule above each scale. of_scales: their numbers of lines."""
    alignment = "l" * len(summary.keys) + "r" * (len(header) - len(summary.keys))
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", " & ".join(header) + r" \\"]
    texts = iter(body)
    for n in filter(None, of_scales):
        lines += [r"\midrule", *(" & ".join(line) + r" \\" for line in itertools.islice(texts, n))]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def escape_markdown(text: str) -> str:
    """Escape Markdown's markup; an underscore within a word is none."""
    return re.sub(r"([\\`*|<])|(?<![^\W_])(_)|(_)(?![^\W_])", r"\\\g<0>", text)


def escape_latex(text: str) -> str:
    """Escape what LaTeX would read as commands, and write signs that it does not know."""
    text = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", text)  # a hyphen before a number is its minus sign


def _one_line_notes(summary: Summary) -> list[str]:
    return [" ".join(note.split()) for note in summary.notes]


def grid(
    summary: Summary, escape: Callable[[str], str], mark_best: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """The header and the cells of the table, passed through `escape`; the best cells also through `mark_best`."""
    lines = summary.lines
    header = [*summary.keys, "seeds"]
    columns = []
    if any(not math.isnan(row.rank) for row in lines):
        header.append(RANK)
        columns.append(["" if math.isnan(row.rank) else f"{row.rank:.1f}" for row in lines])
    for column in summary.columns:
        header.append(column.heading)
        texts = [escape(text) for text in _cell_texts(lines, column.key)]
        best = [row.cells[column.key].is_best for row in lines]
        columns.append([mark_best(text) if is_best else text for text, is_best in zip(texts, best, strict=True)])
    body = [
        [*(escape(text) for text in _key_texts(summary, row)), *texts]
        for row, *texts in zip(lines, *columns, strict=True)
    ]
    return [escape(name) for name in header], body


def difference_grid(summary: Summary, escape: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """The header and the cells of the differences from the baseline, passed through `escape`; no cells without any."""
    rows = _compared(summary.rows)
    columns = [c for c in summary.columns if any(difference_text(row.cells[c.key]) for row in rows)]
    header = [escape(name) for name in (*summary.keys, "seeds", *(column.heading for column in columns))]
    cells = [[row.cells[column.key] for column in columns] for row in rows]
    body = [
        [*_key_texts(summary, row), *(difference_text(cell) + DIFFERS * cell.differs for cell in of_row)]
        for row, of_row in zip(rows, cells, strict=True)
    ]
    return header, [[escape(text) for text in line] for line in body]


def _compared(rows: Sequence[Row]) -> list[Row]:
    """The rows of which any difference from their baseline is known."""
    return [row for row in rows if any(not math.isnan(cell.difference) for cell in row.cells.values())]


def difference_text(cell: Cell) -> str:
    """The difference from the baseline with its sign and interval; empty without one."""
    if math.isnan(cell.difference):
        return ""
    places = max(0, decimals(cell.difference, cell.difference_interval))
    text, interval = (number(value, places) for value in (cell.difference, cell.difference_interval))
    return f"{'' if text.startswith('-') else '+'}{text} {PLUS_MINUS} {interval}"


def _key_texts(summary: Summary, row: Row) -> list[str]:
    """A row's values of the row keys and its number of seeds."""
    if not row.is_floor:
        seeds = str(row.seeds) if row.seeds == len(row.runs) else f"{row.seeds} of {len(row.runs)}"
        return [*(format_value(row.values[key]) for key in summary.keys), seeds]
    texts = {key: format_value(row.values[key]) if key in summary.scale_keys else "" for key in summary.keys}
    labelled = next((key for key in summary.keys if key not in summary.scale_keys), summary.keys[0])
    texts[labelled] = f"{texts[labelled]} {FLOOR_LABEL}".strip()
    return [*texts.values(), ""]


def _cell_texts(lines: Sequence[Row], metric: str) -> list[str]:
    """The cells of a metric's column; their decimals fit its intervals, or its means if there are none."""
    rows = [row for row in lines if not row.is_floor and not math.isnan(row.cells[metric].mean)]
    own_decimals = [decimals(row.cells[metric].mean, row.cells[metric].interval) for row in rows]
    usual = statistics.median_high(own_decimals) if own_decimals else 0
    return [_cell_text(row, metric, usual) for row in lines]


def _cell_text(row: Row, metric: str, usual: int) -> str:
    cell = row.cells[metric]
    if math.isnan(cell.mean):
        return _empty_text(row, metric)
    own = decimals(cell.mean, cell.interval)
    # The column's usual decimals, but not so many that they are noise nor so few that the interval rounds to 0.
    places = max(0, min(max(usual, own), own + 2))
    low, text, high = (number(value, places) for value in (cell.low, cell.mean, cell.high))
    if not math.isnan(cell.interval):
        text += f" {PLUS_MINUS} {number(cell.interval, places)}"
    if cell.low < cell.high and low != high:  # the mean is one of the two
        text = f"{text} to {high}" if cell.mean == cell.low else f"{low} to {text}"
    if not row.is_floor and cell.n != row.seeds:
        text += f" (n={cell.n})"
    return text + DIFFERS * cell.differs


def _empty_text(row: Row, metric: str) -> str:
    """The text where no run has the metric: the status of a row that did not finish, or a dash if it was skipped."""
    if not row.is_floor and row.status != "finished":
        return row.status
    return SKIPPED_MARK if any(metric in run.skipped for run in row.runs) else ""


def decimals(mean: float, interval: float) -> int:
    """Decimals that show an interval to one digit (two if the first is a 1), or a mean without interval to three.

    Negative if digits before the decimal point are already noise.
    """
    value, digits = (abs(mean), 3) if math.isnan(interval) or interval == 0 else (interval, 1)
    if value == 0:
        return 0
    exponent = math.floor(math.log10(value))
    if digits == 1 and value < 2 * 10.0**exponent:
        digits = 2
    return digits - 1 - exponent


def number(value: float, places: int) -> str:
    """A number with so many decimals; in short form if that is long."""
    if places > 6 or abs(value) >= 1e7:
        return f"{value:.3g}"
    return f"{round(value, places) + 0.0:.{places}f}"  # + 0.0 turns -0.0 into 0.0

"""`latentbench-report`: a study as one HTML page that needs nothing else, from its records and their images alone."""

import base64
import dataclasses
import html
import io
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from hydra.errors import HydraException
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from latentbench import __version__
from latentbench.configuration.compose import compose_config
from latentbench.configuration.messages import explain
from latentbench.errors import UserError
from latentbench.records.record import Record, write_whole
from latentbench.reporting import tables
from latentbench.reporting.columns import ARROWS, Column
from latentbench.reporting.findings import Finding, baseline_name, findings, headline, name, sections
from latentbench.reporting.formats import CAPTION, PLUS_MINUS, grid
from latentbench.reporting.grouping import MISSING, settings
from latentbench.reporting.image_grids import Picture, pictures
from latentbench.reporting.study_figures import kept_by_run
from latentbench.reporting.summary import FLOOR, Summary, label, shown

FILE_NAME = "report.html"
HELP = """latentbench-report: a study as one web page, from its records and their images alone.

Usage:
  latentbench-report sweep=quick                    the study of sweeps/quick.yaml
  latentbench-report study=mine output_dir=results  the records below results/mine
  latentbench-report sweep=quick from=wandb         the records in the W&B project logger.entity/logger.project

Reads what latentbench-tables reads, and takes the same options.
Writes <output_dir>/<study>/report.html, which needs no other file and no network: the question, a short answer,
       tables that can be sorted, figures, and every run with its images, measures and settings.

table.baseline  a row's value, such as vae: which rows differ from that row by more than chance is said
"""
LINES = 4  # of images in a picture
MINUS = "\N{MINUS SIGN}"
SAMPLES = "What each row's first finished run draws and brings back, below real images."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of a table: its text, the number itself to sort by, how it differs from the baseline, and if clearly."""

    text: str
    value: float | None
    best: bool
    difference: str
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """What tells a row apart, or how many seeds it has and its rank: its text, and the number itself to sort by."""

    text: str
    is_number: bool
    value: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table; `index` is the row's in the summary."""

    index: int
    heads: list[Head]
    cells: list[Cell]
    is_floor: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a study's page; 2 if the command or the records cannot be used."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        _report(compose_config([tables.FROM_RECORDS, *arguments]))
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"latentbench-report: {explain(error)}", file=sys.stderr)
        return 2
    return 0


def _report(config: DictConfig) -> None:
    folder, records, left_out = tables.read_records(config)
    summary, made = tables.summarize_study(config, records, folder, left_out)
    page = to_html(summary, made, folder, title=config.study, question=OmegaConf.select(config, "question"))
    write_whole(folder / FILE_NAME, page.encode())
    print(f"written: {folder / FILE_NAME} ({len(page.encode()) / 1e6:.1f} MB)")


def to_html(
    summary: Summary, made: Mapping[str, Figure], folder: Path, *, title: str, question: str | None = None
) -> str:
    """The page of a study with the figures made of it; the images of its runs are in `folder`."""
    found = findings(summary)
    first, mark, rest = " ".join((question or "").split()).partition("? ")
    runs = [run for of_row in summary.runs.values() for run in of_row]
    header, body = grid(summary, str, str)
    width = len(header) - len(summary.columns)
    keys = [column.key for column in summary.columns]
    texts = {(i, key): cell for i, row in enumerate(body) for key, cell in zip(keys, row[width:], strict=True)}
    heads = _heads(summary, [row[:width] for row in body])
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("page.html.jinja")
    return template.render(
        title=title,
        question=first + mark.strip(),
        rest=rest,
        version=__version__,
        n_runs=len(runs),
        statuses=Counter(run.status for run in runs),
        seeds=sorted({run.choices["seed"] for run in runs}),
        findings=found,
        headline=headline(summary, found),
        several_scales=len({finding.scale for finding in found}) > 1,
        names={index: name(summary, index) for index in summary.runs},
        labels={index: label(summary, index) for index in summary.runs},
        texts=texts,
        signed=_signed,
        partners=summary.partners,
        than=baseline_name(summary),
        counts={column.key: summary.table[f"{column.key}.n"].to_dict() for column in summary.columns},
        keys=summary.keys,
        heads=header[:width],
        tables=[
            (heading, columns, _rows(summary, found, columns, heads, texts))
            for heading, columns in sections(summary).items()
        ],
        arrows=ARROWS,
        caption=CAPTION,
        notes=summary.notes,
        figures={key: (_svg(figure, key), _caption(key)) for key, figure in made.items()},
        runs=summary.runs,
        pictures={run.run_id: _pictures(folder, run) for run in runs},
        source=_source,
        measures=_measures,
        settings=_settings,
    )


def _rows(
    summary: Summary,
    found: Sequence[Finding],
    columns: Sequence[Column],
    heads: Sequence[list[Head]],
    texts: Mapping[tuple[int, str], str],
) -> list[list[Row]]:
    """A table's lines, scale by scale, the floor first.

    heads: of every row of the summary; texts: (row, metric) -> the cell as every other table of the study has it
    """
    differences = {(index, f.column.key): _signed(d) for f in found for index, d in f.differences.items()}
    verdicts = {(index, f.column.key): "better" for f in found for index in f.better}
    verdicts |= {(index, f.column.key): "worse" for f in found for index in f.worse}
    blocks: dict[tuple[Any, ...], list[Row]] = {}
    for index in summary.table.index:
        line = summary.table.loc[index]
        cells = []
        for column in columns:
            place, mean = (index, column.key), float(line[f"{column.key}.mean"])
            cells.append(
                Cell(
                    text=texts[place],
                    value=None if math.isnan(mean) else mean,
                    best=place in summary.best,
                    difference=differences.get(place, ""),
                    verdict=verdicts.get(place, ""),
                )
            )
        row = Row(index=index, heads=heads[index], cells=cells, is_floor=line["status"] == FLOOR)
        if not row.is_floor or any(cell.value is not None for cell in cells):
            blocks.setdefault(tuple(line[key] for key in summary.scale), []).append(row)
    return list(blocks.values())


def _heads(summary: Summary, texts: Sequence[Sequence[str]]) -> list[list[Head]]:
    """The first cells of every row, whose texts are given."""
    columns = []
    for column, of_column in zip([*summary.keys, "seeds", "rank"], zip(*texts, strict=True), strict=False):
        values = summary.table[column]
        is_number = all(isinstance(value, int | float) for value in values.dropna() if value != MISSING)
        cells = []
        for value, text in zip(values, of_column, strict=True):
            there = is_number and text.strip() not in ("", MISSING)
            cells.append(Head(text=text, is_number=is_number, value=float(value) if there else None))
        columns.append(cells)
    return [list(of_row) for of_row in zip(*columns, strict=True)]


def _signed(difference: float) -> str:
    """A difference with its sign."""
    return f"{MINUS if difference < 0 else '+'}{abs(difference):.3g}"


def _caption(key: str) -> str:
    """What a figure shows."""
    return SAMPLES if key == "samples" else key.replace("_", " ").capitalize().replace("Fid ", "FID ")


def _within(value: float, error: float) -> str:
    """A number and its error or interval, to two digits of that."""
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} {PLUS_MINUS} {error:.{places}f}"


def _svg(figure: Figure, key: str) -> str:
    """A figure as SVG to stand in a page: text as text, in the page's colours; the same bytes every time."""
    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(content, format="svg", dpi=288, transparent=True, bbox_inches="tight", metadata=nothing)
    svg = content.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])  # an id stands once in a page
    svg = svg.replace("#000000", "currentColor")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(_caption(key))}" ', 1)


def _pictures(folder: Path, run: Record) -> list[Picture]:
    """What a run drew and brought back, and its latents; real images are in the page's first figure."""
    made = pictures(kept_by_run(folder, run), lines=LINES)
    return [picture for key, picture in made.items() if key != "real"]


def _source(picture: Picture) -> str:
    """A picture as the data URI of a PNG."""
    content = io.BytesIO()
    Image.fromarray(picture.pixels).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _measures(run: Record) -> tuple[list[str], dict[str, dict[str, str]]]:
    """What a run's metrics are of, and quantity -> of what -> the number with its standard error."""
    measured: dict[str, dict[str, str]] = {}
    for key, value in sorted(run.metrics.items()):
        quantity, _, of = key.partition("/")
        error = run.standard_errors.get(key)
        text = _within(value, error) if error else f"{value:.4g}"
        measured.setdefault(quantity, {})[of] = text
    return sorted({of for numbers in measured.values() for of in numbers}), measured


def _settings(run: Record) -> dict[str, str]:
    """All that can change a run's result, and what it ran on."""
    seconds = {f"seconds.{phase}": spent for phase, spent in run.seconds.items()}
    packages = run.environment.get("packages") or {}
    around = {key: value for key, value in run.environment.items() if key != "packages"}
    around |= {f"packages.{package}": version for package, version in packages.items()}
    every = settings(run) | {"n_parameters": run.n_parameters} | seconds
    return {key: shown(value) for key, value in (every | around).items()}

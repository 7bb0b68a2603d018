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
import numpy as np
from hydra.errors import HydraException
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from latentbench import __version__, configuration, tables
from latentbench.comparison import settings
from latentbench.errors import UserError
from latentbench.figures import Images
from latentbench.findings import Difference, Finding, findings, headline, name, sections
from latentbench.record import Record, write_whole
from latentbench.rendering import ARROWS, CAPTION, PLUS_MINUS, _grid
from latentbench.summary import FLOOR, Column, Summary, label, shown

FILE_NAME = "report.html"
HELP = """latentbench-report: a study as one web page, from its records and their images alone.

Usage:
  latentbench-report sweep=quick                    the study of sweeps/quick.yaml
  latentbench-report study=mine output_dir=results  the records below results/mine

Reads what latentbench-tables reads, and takes the same options.
Writes <output_dir>/<study>/report.html, which needs no other file and no network: the question, a short answer,
       tables that can be sorted, figures, and every run with its images, measures and settings.

table.baseline  in the study's YAML, or as +table.baseline=ae: the row that the others are compared with
                (vae, where there is such a row)
"""
PER_LINE, LINES = 8, 4  # images of a picture
MINUS = "\N{MINUS SIGN}"
FIGURES = {
    "samples": "What each row's first finished run draws and brings back, below real images.",
    "fid_against_sharpness": "How far prior samples are from real images (FID) against how sharp they are beside "
    "them. Real images lie where the lines cross.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of a table: its text, the number itself to sort by, how it differs from the baseline, and if clearly."""

    text: str
    value: float | None
    best: bool
    difference: str
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table; `index` is the row's in the summary."""

    index: int
    head: list[str]
    cells: list[Cell]
    is_floor: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """Images of a run in one PNG, `source` its data URI."""

    source: str
    width: int
    height: int
    caption: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a study's page; 2 if the command or the records cannot be used."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        _report(configuration.compose_config(list(arguments)))
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"latentbench-report: {configuration.explain(error)}", file=sys.stderr)
        return 2
    return 0


def _report(config: DictConfig) -> None:
    folder, summary = tables.read_study(config)
    question, baseline = (OmegaConf.select(config, key) for key in ("question", "table.baseline"))
    page = to_html(summary, folder, title=config.study, question=question, baseline=baseline)
    write_whole(folder / FILE_NAME, page.encode())
    print(f"written: {folder / FILE_NAME} ({len(page.encode()) / 1e6:.1f} MB)")


def to_html(
    summary: Summary, folder: Path, *, title: str, question: str | None = None, baseline: str | None = None
) -> str:
    """The page of a study whose runs' images are below `folder`.

    Raises: UserError if the baseline is not one row of the table.
    """
    found = findings(summary, baseline=baseline)
    made, missing = tables.make_figures(summary, folder)
    first, mark, rest = " ".join((question or "").split()).partition("? ")
    runs = [run for of_row in summary.runs.values() for run in of_row]
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("report.html.jinja")
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
        texts=_texts(summary),
        number=_number,
        counts={column.key: summary.table[f"{column.key}.n"].to_dict() for column in summary.columns},
        keys=summary.keys,
        tables=[
            (heading, columns, _rows(summary, found, columns)) for heading, columns in sections(summary, found).items()
        ],
        arrows=ARROWS,
        caption=CAPTION,
        notes=[*summary.notes, *missing],
        figures={key: (_svg(figure, key), FIGURES[key]) for key, figure in made.items()},
        runs=summary.runs,
        pictures={run.run_id: _pictures(tables.run_images(folder, run)) for run in runs},
        measures=_measures,
        settings=_settings,
    )


def _texts(summary: Summary) -> dict[tuple[int, str], str]:
    """(row, metric) -> the cell as every other table of the study has it."""
    _, body = _grid(summary, str, str)
    keys = [column.key for column in summary.columns]
    return {
        (index, key): text
        for index, row in enumerate(body)
        for key, text in zip(keys, row[len(summary.keys) + 1 :], strict=True)
    }


def _rows(summary: Summary, found: Sequence[Finding], columns: Sequence[Column]) -> list[list[Row]]:
    """A table's lines, scale by scale, the floor first."""
    _, body = _grid(summary, str, str)
    texts, width = _texts(summary), len(summary.keys) + 1
    differences = {(index, f.column.key): _number(d) for f in found for index, d in f.differences.items()}
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
        row = Row(index=index, head=body[index][:width], cells=cells, is_floor=line["status"] == FLOOR)
        if not row.is_floor or any(cell.value is not None for cell in cells):
            blocks.setdefault(tuple(line[key] for key in summary.scale), []).append(row)
    return list(blocks.values())


def _number(difference: Difference) -> str:
    """A difference with its sign and its interval."""
    size = abs(difference.mean)
    text = f"{size:.3g}" if math.isnan(difference.interval) else _within(size, difference.interval)
    return f"{MINUS if difference.mean < 0 else '+'}{text}"


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
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(FIGURES[key])}" ', 1)


def _pictures(images: Mapping[str, Images]) -> list[Picture]:
    """What a run drew, what it brought back beside the originals, and what lies half-way between two of those."""
    pictures = []
    drawn = images.keys() - {"real", "original", "reconstruction", "interpolation"}
    for key in sorted(drawn, key=lambda key: (key != "prior", key)):
        lines = [images[key][start : start + PER_LINE] for start in range(0, PER_LINE * LINES, PER_LINE)]
        pictures.append(_picture([line for line in lines if len(line)], f"samples, {key}"))
    original, back, between = (images.get(key) for key in ("original", "reconstruction", "interpolation"))
    if original is not None and back is not None:
        lines = []
        for start in range(0, PER_LINE * LINES // 2, PER_LINE):
            lines += [of[start : start + PER_LINE] for of in (original, back) if len(of) > start]
        pictures.append(_picture(lines, "originals, and below each its reconstruction"))
    if back is not None and between is not None and len(between) > 1:
        # an image of `interpolation` lies between its own and the one before
        lines = [back[:PER_LINE], between[1 : PER_LINE + 1], back[1 : PER_LINE + 1]]
        pictures.append(_picture(lines, "two reconstructions, and the image half-way between them"))
    return pictures


def _picture(lines: Sequence[Images], caption: str) -> Picture:
    """Lines of images below each other, with nothing between them."""
    channels, height, width = lines[0].shape[1:]
    gap = max(1, round(0.06 * width))
    columns = max(map(len, lines))
    shape = (len(lines) * (height + gap) - gap, columns * (width + gap) - gap, channels + 1)
    canvas = np.zeros(shape, dtype=np.uint8)
    for line, images in enumerate(lines):
        for column, image in enumerate(images):
            y, x = line * (height + gap), column * (width + gap)
            canvas[y : y + height, x : x + width, :channels] = image.transpose(1, 2, 0)
            canvas[y : y + height, x : x + width, channels] = 255
    content = io.BytesIO()
    Image.fromarray(canvas).save(content, "PNG", optimize=True)
    zoom = max(1, 28 // width)
    return Picture(
        source=f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}",
        width=shape[1] * zoom,
        height=shape[0] * zoom,
        caption=caption,
    )


def _measures(run: Record) -> tuple[list[str], dict[str, dict[str, str]]]:
    """What a run's metrics are of, and quantity -> of what -> the number with its standard error."""
    measured: dict[str, dict[str, str]] = {}
    for key, value in sorted(run.metrics.items()):
        quantity, _, of = key.partition("/")
        error = run.errors.get(key)
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

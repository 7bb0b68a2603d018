"""The figures of a study's page, and what they say of the point that a reader points at."""

import dataclasses
import html
import io
import re
from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from latentbench.reporting.families import FAMILIES, family_of
from latentbench.reporting.formats import PLUS_MINUS, decimals, number
from latentbench.reporting.significance import mean_interval
from latentbench.reporting.summary import Row, Summary

SAMPLES = "Samples and reconstructions of each row's first finished run, below real images."
SMALLEST, LARGEST = 1.1, 1.7  # pixels on the page for a point of print


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """A row in a figure: its family, and its mean and seeds of each axis that is a metric, in words."""

    row: Row
    family: str
    lines: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A figure as SVG, with the caption below it, its rows and their families."""

    name: str
    caption: str
    svg: str
    marks: list[Mark]
    families: list[str]


def make_page_figures(
    summary: Summary, figures: Mapping[str, Figure], axes: Mapping[str, Mapping[str, str]]
) -> list[PageFigure]:
    """The figures of a page. axes: figure -> its x and y."""
    made = []
    for name, figure in figures.items():
        svg = _svg(figure, name)
        shown = set(map(int, re.findall(r'data-row="(\d+)"', svg)))
        keys = [key for key in axes.get(name, {}).values() if key not in summary.keys]
        marks = [_mark(row, keys) for row in summary.rows if row.index in shown]
        families = [family for family in FAMILIES if any(mark.family == family for mark in marks)]
        made.append(PageFigure(name=name, caption=_caption(name), svg=svg, marks=marks, families=families))
    return made


def _mark(row: Row, keys: list[str]) -> Mark:
    """A line for each metric: its mean over seeds with the 95 % interval, and each seed's number; then its caveats."""
    lines = []
    runs = [run for run in row.finished if run.metrics.keys() >= set(keys)]
    for key in keys:
        mean, interval, n = mean_interval([run.metrics[key] for run in runs])
        places = max(0, decimals(mean, interval))
        half = f" {PLUS_MINUS} {number(interval, places)}" if n > 1 else ""
        seeds = ", ".join(f"seed {run.choices['seed']}: {number(run.metrics[key], places + 1)}" for run in runs)
        lines.append(f"{key} {number(mean, places)}{half} ({seeds})")
        low, high = (mean_interval(values)[0] for values in row.bounds(key))
        if low < high:
            lines.append(f"The truth lies between {number(low, places)} and {number(high, places)}.")
        lines += [f"Caveat: {caveat}" for caveat in row.caveats_of(key)]
    return Mark(row=row, family=family_of(row.runs[0]), lines=lines)


def _caption(name: str) -> str:
    return SAMPLES if name == "samples" else name.replace("_", " ").capitalize().replace("Fid ", "FID ")


def _svg(figure: Figure, name: str) -> str:
    """A figure as SVG to embed in a page: text stays text, black becomes the page's text colour; reproducible.

    What belongs to a row names it in `data-row`; of this, what a reader points at has the class `point`.
    """
    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(content, format="svg", dpi=288, transparent=True, bbox_inches="tight", metadata=no_metadata)
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="point-(\d+)"', r'<g class="point" data-row="\1"', svg)
    svg = re.sub(r'<g id="row-(\d+)"', r'<g data-row="\1"', svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # an id must be unique in a page
    svg = svg.replace("#000000", "currentColor")
    attributes = f'role="img" aria-label="{html.escape(_caption(name))}"'
    if name != "samples":
        width = float(re.findall(r'width="([\d.]+)pt"', svg)[0])
        attributes += f' style="min-width: {SMALLEST * width:.0f}px; max-width: {LARGEST * width:.0f}px"'
    return svg.replace("<svg ", f"<svg {attributes} ", 1)

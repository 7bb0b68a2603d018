"""Drawing one quantity against another or against a setting, with a name beside every point or line."""

import colorsys
import dataclasses
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from latentbench.reporting.families import FAMILIES
from latentbench.reporting.label_placement import Numbers, nearest, place_labels
from latentbench.reporting.plots import COLOURS, FONT, style_of

SINGLE, DOUBLE = 3.2, 6.5  # inches: a column of a paper, 8.5 cm wide, and two of them, less the margins of the file
SMALL = FONT - 1  # points
DPI = 100  # at which places are reckoned; files have their own
MARKER = 4  # points
LISTED = 10  # names below the figure that have no room in it
LETTERS = 17  # of small print on an inch
LEADER = 9.0  # points between a point and its name, from which on a line joins them


@dataclasses.dataclass(frozen=True)
class Point:
    """A table row in a plot: mean and half-width of the confidence interval (nan: none) on either axis.

    row: the row's index, by which a page finds what belongs to it: `point-<row>`, and `row-<row>` for all but markers
    has_caveat: whether either number has one; then it is drawn hollow
    """

    x: float
    x_interval: float
    y: float
    y_interval: float
    row: int = 0
    has_caveat: bool = False


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis; it may be logarithmic where values are far apart, unless `may_be_log` is false.

    share: of what the values are shares, such as `of images`; empty for others
    """

    heading: str
    may_be_log: bool = True
    share: str = ""


@dataclasses.dataclass(frozen=True)
class Line:
    """Points that are joined in this order, labels of the first and the last, and one of `FAMILIES`."""

    label: str
    points: Sequence[Point]
    family: str
    end_labels: tuple[str, str] = ("", "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """The lines of one scale, and on either axis the floor, what real images score (None: unknown)."""

    title: str
    lines: Sequence[Line]
    x_floor: float | None = None
    y_floor: float | None = None

    @property
    def points(self) -> list[Point]:
        """The points of every line."""
        return [point for line in self.lines for point in line.points]


def plot(
    panels: Sequence[Panel], *, x: Axis, y: Axis, joined_key: str | None = None, is_setting: bool = False
) -> Figure:
    """One quantity against another: a panel per scale, bars for the intervals, and a name beside each line.

    Each line has a colour of its own; where there are more lines than colours, each family has. Broken lines show what
    real images score; between two shares of the same a dotted line shows where they are equal. The figure is as wide as
    a column of a paper, or two.

    joined_key: the row key along which the points of a line are joined
    is_setting: whether x is a setting, which has no interval; then a band shows the intervals of y instead of bars
    """
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    families = {line.family for panel in panels for line in panel.lines}
    by_family = len(labels) > len(COLOURS)
    height = 4.6 if by_family else 2.6
    columns = 1 if by_family else min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = DOUBLE if by_family or columns > 1 else SINGLE
    figure = Figure(figsize=(width, rows * height), dpi=DPI, layout="constrained")
    names: list[list[Annotation]] = []
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_axes(axes, panel, x, y, is_setting=is_setting)
        names.append([])
        for line in panel.lines:
            style = _style_of_family(line.family) if by_family else style_of(labels.index(line.label))
            _draw(axes, line, style, band=is_setting)
            names[-1] += _names(axes, line, style["color"])
    points = [point for panel in panels for point in panel.points]
    are_means = {math.isfinite(point.y_interval) for point in points}
    note = "mean, 95 % interval" if True in are_means else "one seed, and no interval"
    note += "; no interval: one seed" if len(are_means) > 1 else ""
    are_joined = any(len(line.points) > 1 for panel in panels for line in panel.lines)
    note += f"; joined along {joined_key}" if joined_key and are_joined and not is_setting else ""
    if any(point.has_caveat for point in points):
        note += "; hollow: see the caveats of the table"
    if _are_comparable(x, y):
        note += "; dotted: both are equal"
    handles = [
        Line2D([], [], linestyle="none", markersize=MARKER, label=family, **_style_of_family(family))
        for family in FAMILIES
        if family in families and by_family
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        fontsize=FONT,
        ncols=3,
        title=note,
        title_fontsize=SMALL,
        frameon=False,
        columnspacing=1.5,
        handletextpad=0.2,
    )
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names have their places on axes that stay where they are
    unnamed = []
    for axes, panel, of_panel in zip(figure.axes, panels, names, strict=True):
        if is_setting:
            _make_room(axes, of_panel)
        unnamed += _place(axes, panel, of_panel)
    if unnamed:
        others = f"; {len(unnamed) - LISTED} others" if len(unnamed) > LISTED else ""
        note += f"; without room for a name: {'; '.join(unnamed[:LISTED])}{others}"
        legend.set_title(textwrap.fill(note, round(LETTERS * width)))
    return figure


def _style_of_family(family: str) -> dict[str, Any]:
    """The same in every figure, without the second blue."""
    return style_of(FAMILIES.index(family)) | ({"color": COLOURS[-1]} if family == FAMILIES[-1] else {})


def _draw_axes(axes: Axes, panel: Panel, x: Axis, y: Axis, *, is_setting: bool) -> None:
    """Title, headings, scales and floors."""
    axes.set_title(panel.title, fontsize=FONT, parse_math=False)
    axes.set_xlabel(x.heading, fontsize=FONT)
    axes.set_ylabel(y.heading, fontsize=FONT)
    axes.tick_params(labelsize=SMALL, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    y_ends = [_interval_ends(point.y, point.y_interval) for point in panel.points]
    _set_range(axes.yaxis, y, [point.y for point in panel.points], y_ends, panel.y_floor)
    if is_setting:
        _setting_axis(axes, sorted({point.x for point in panel.points}))
    else:
        x_ends = [_interval_ends(point.x, point.x_interval) for point in panel.points]
        _set_range(axes.xaxis, x, [point.x for point in panel.points], x_ends, panel.x_floor)
    if _are_comparable(x, y):
        axes.axline((0, 0), slope=1, linestyle=":", color="0.55", linewidth=0.8, zorder=0)
    _draw_floors(axes, panel)


def _are_comparable(x: Axis, y: Axis) -> bool:
    """Whether both are shares of the same."""
    return bool(x.share) and x.share == y.share


def _set_range(
    axis: XAxis | YAxis, quantity: Axis, means: list[float], ends: list[tuple[float, float]], floor: float | None
) -> None:
    """Show every mean, and intervals unless they are far wider than the means; logarithmic from 1.5 decades on."""
    means = means + ([] if floor is None else [floor])
    low, high = min(means), max(means)
    set_limits = axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim
    if quantity.may_be_log and low > 0 and high / low > 10**1.5:
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        set_limits(low / 1.6, min(max(high, *(end for _, end in ends)), 4 * high) * 1.6)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        return
    if quantity.share:  # intervals may leave the range of a share
        ends = [(max(end, 0.0), min(other, 1.0)) for end, other in ends]
    spread = max(high - low, 0.1 * abs(high)) or 1.0
    bottom = max(min(low, *(end for end, _ in ends)), low - spread) - 0.08 * spread
    top = min(max(high, *(end for _, end in ends)), high + spread) + 0.08 * spread
    set_limits(max(bottom, -0.03 * spread) if low >= 0 else bottom, top)  # low enough that a marker at 0 is not cut off


def _setting_axis(axes: Axes, values: Sequence[float]) -> None:
    """An x axis with a tick at every value that was set; logarithmic if they span a decade or more."""
    if values[0] > 0 and values[-1] / values[0] >= 10:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())


def _interval_ends(mean: float, interval: float) -> tuple[float, float]:
    half = 0.0 if math.isnan(interval) else interval
    return mean - half, mean + half


def _draw_floors(axes: Axes, panel: Panel) -> None:
    style: dict[str, Any] = {"linestyle": "--", "color": "0.55", "linewidth": 0.8, "zorder": 0}
    if panel.x_floor is not None:
        axes.axvline(panel.x_floor, **style)
    if panel.y_floor is not None:
        axes.axhline(panel.y_floor, **style)
        axes.annotate(
            "real\nimages", (1.0, panel.y_floor), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=FONT - 1, color="0.4", annotation_clip=False,
        )  # fmt: skip


def _draw(axes: Axes, line: Line, style: dict[str, Any], *, band: bool) -> None:
    """A line's points, with a band or bars for their intervals."""
    x, y, y_interval = (np.array([getattr(point, name) for point in line.points]) for name in ("x", "y", "y_interval"))
    joined = len(x) > 1
    if joined:
        (joint,) = axes.plot(x, y, linewidth=1.2 if band else 0.9, alpha=0.9, color=style["color"])
        joint.set_gid(f"row-{line.points[0].row}")
    if band and joined:
        half = np.nan_to_num(y_interval)
        # A logarithmic axis cannot show 0 or less: the band ends at the lower limit of the axis.
        low = y - half if axes.get_yscale() == "linear" else np.maximum(y - half, axes.get_ylim()[0])
        area = axes.fill_between(x, low, y + half, color=style["color"], alpha=0.15, linewidth=0)
        area.set_gid(f"row-{line.points[0].row}")
    for point in line.points:
        if not (band and joined):
            bars = axes.errorbar(
                point.x, point.y, xerr=np.nan_to_num(point.x_interval), yerr=np.nan_to_num(point.y_interval),
                fmt="none", elinewidth=0.7, alpha=0.3, ecolor=style["color"],
            )  # fmt: skip
            for bar in bars.lines[2]:
                bar.set_gid(f"row-{point.row}")
        hollow = {"markerfacecolor": "none", "markeredgewidth": 0.8} if point.has_caveat else {"markeredgewidth": 0}
        (marker,) = axes.plot(point.x, point.y, **style, **hollow, linestyle="none", markersize=MARKER)
        marker.set_gid(f"point-{point.row}")


def _names(axes: Axes, line: Line, colour: str) -> list[Annotation]:
    """The name of a line for its last point, and the label of its first; darker than the line, since text is thin."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    dark = colorsys.hls_to_rgb(hue, min(lightness, 0.3), saturation)
    first, last = line.end_labels
    texts = {len(line.points) - 1: f"{line.label}, {last}" if last else line.label} | ({0: first} if first else {})
    made = []
    for index, text in texts.items():
        point = line.points[index]
        name = axes.annotate(
            text, (point.x, point.y), xytext=(0, 0), textcoords="offset points", va="bottom", fontsize=SMALL, color=dark
        )
        name.set_parse_math(False)
        name.set_in_layout(False)
        name.set_gid(f"row-{point.row}")
        made.append(name)
    return made


def _make_room(axes: Axes, names: Sequence[Annotation]) -> None:
    """Lengthen the axis of a setting to the right by the longest name, and leave out numbers that hide one another."""
    share = (max(_size(name)[0] for name in names) + 8) / _on_paper(axes.bbox.width)
    low, high = axes.transScale.transform([[limit, 1.0] for limit in axes.get_xlim()])[:, 0]
    end = axes.transScale.inverted().transform([low + (high - low) / (1 - min(share, 0.5)), 0.0])[0]
    axes.set_xlim(right=end)
    free_from = -math.inf
    for tick in axes.xaxis.get_major_ticks():
        extent = tick.label1.get_window_extent()
        if extent.x0 < free_from:
            tick.label1.set_visible(False)
        else:
            free_from = extent.x1 + extent.height / 3


def _place(axes: Axes, panel: Panel, names: Sequence[Annotation]) -> list[str]:
    """Put every name where it hides nothing, with a line to its point. Returns: the names without such a place."""
    anchors = _on_paper(axes.transData.transform([name.xy for name in names]))
    points = _on_paper(axes.transData.transform([(point.x, point.y) for point in panel.points]))
    places = place_labels(anchors, np.array([_size(name) for name in names]), points, _on_paper(axes.bbox.extents))
    for name, anchor, box in zip(names, anchors, places, strict=True):
        if box is None:
            name.remove()
            continue
        name.set_position((box[0] - anchor[0], box[1] - anchor[1]))
        end = nearest(box, anchor)
        if math.dist(anchor, end) > LEADER:
            x, y = axes.transData.inverted().transform(np.array([anchor, end]) * DPI / 72).T
            (leader,) = axes.plot(x, y, color=name.get_color(), linewidth=0.5, alpha=0.8)
            leader.set_gid(name.get_gid())
    return [name.get_text() for name, box in zip(names, places, strict=True) if box is None]


def _size(name: Annotation) -> Numbers:
    """Width and height of a name in points of print."""
    extent = name.get_window_extent()
    return _on_paper(extent.size)


def _on_paper(pixels: Any) -> Numbers:
    """Pixels in points of print."""
    return np.asarray(pixels, dtype=float) * 72 / DPI

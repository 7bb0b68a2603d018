"""Drawing with matplotlib: grids of samples, and one quantity against another or against a setting."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

from latentbench.records.record import write_atomically

# Okabe & Ito's colours, which colour-blind readers can tell apart, without yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
FONT = 8  # points, the size of a paper's captions
NAMES_PER_COLUMN = 14  # in a legend as high as its panel
GRID_PIXELS = 75  # across an image of the sample grid in a PNG; wider ones are smoothed, since they lose pixels
Images = NDArray[np.uint8]  # (N, C, H, W)


@dataclasses.dataclass(frozen=True)
class SampleRow:
    """A line of the sample grid: its label, and the images of each block."""

    label: str
    images: Mapping[str, Images]


@dataclasses.dataclass(frozen=True)
class Point:
    """A table row in a plot: mean and half-width of the confidence interval (nan: none) on either axis."""

    x: float
    x_interval: float
    y: float
    y_interval: float


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis; it may be logarithmic where values are far apart, unless `may_be_log` is false."""

    heading: str
    may_be_log: bool = True


@dataclasses.dataclass(frozen=True)
class Line:
    """Points that are joined in this order, and labels of the first and the last."""

    label: str
    points: Sequence[Point]
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


def sample_grid(rows: Sequence[SampleRow], headings: Mapping[str, str], *, per_block: int) -> Figure:
    """A grid of images: a line per row, and in it `per_block` images for each block of `headings`."""
    size, gap, top = 0.27, 0.12, 0.25  # inches
    left = 0.15 + 0.062 * max(len(row.label) for row in rows)
    block_width = per_block * size
    width = left + len(headings) * (block_width + gap)
    line_height = size * max(map(_aspect, rows))
    height = top + len(rows) * (line_height + 0.04) + 0.05
    figure = Figure(figsize=(width, height))
    for column, (key, heading) in enumerate(headings.items()):
        x = left + column * (block_width + gap)
        figure.text((x + block_width / 2) / width, 1 - 0.6 * top / height, heading, ha="center", fontsize=FONT)
        for line, row in enumerate(rows):
            y = height - top - (line + 1) * (line_height + 0.04)
            if key in row.images:
                axes = figure.add_axes((x / width, y / height, block_width / width, line_height / height))
                _strip(axes, row.images[key][:per_block], per_block)
    for line, row in enumerate(rows):
        y = height - top - (line + 1) * (line_height + 0.04) + line_height / 2
        figure.text((left - 0.08) / width, y / height, row.label, ha="right", va="center", fontsize=FONT)
    return figure


def _aspect(row: SampleRow) -> float:
    """Height of the row's images over their width, within what leaves room for a label and for other rows."""
    height, width = next(iter(row.images.values())).shape[2:] if row.images else (1, 1)
    return float(min(max(height / width, 0.6), 4.0))


def as_shown(images: Images) -> Images:
    """Images with 1 or 3 channels; of other numbers of channels, the mean over channels as grey."""
    return images if images.shape[1] in (1, 3) else images.mean(1, keepdims=True).round().astype(np.uint8)


def _strip(axes: Axes, images: Images, columns: int) -> None:
    """Draw images side by side, with white gaps; if there are fewer than `columns`, the rest stays white."""
    images = as_shown(images)
    channels, height, width = images.shape[1:]
    margin = max(1, round(0.06 * width))
    canvas = np.full((height, columns * (width + margin), channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        start = index * (width + margin)
        canvas[:, start : start + width] = image.transpose(1, 2, 0)
    pixels = canvas[..., 0] if channels == 1 else canvas
    interpolation = "nearest" if width <= GRID_PIXELS else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=interpolation, aspect="equal", origin="upper")
    axes.set_anchor("W")
    axes.set_axis_off()


def plot(
    panels: Sequence[Panel], *, x: Axis, y: Axis, joined_key: str | None = None, is_setting: bool = False
) -> Figure:
    """One quantity against another: a panel per scale, a colour and a marker per line, bars for the intervals.

    Broken lines show what real images score.

    joined_key: the row key along which the points of a line are joined
    is_setting: whether x is a setting, which has no interval; then a band shows the intervals of y instead of bars
    """
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    room = 1.5 if len(labels) > NAMES_PER_COLUMN else 1.0  # many points need more room
    columns = max(1, math.ceil(len(labels) / (room * NAMES_PER_COLUMN)))
    figure = Figure(figsize=(1.3 * columns + room * max(4.0, 3.2 * len(panels)), room * 3.2), layout="constrained")
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        axes.set_title(panel.title, fontsize=FONT)
        axes.set_xlabel(x.heading, fontsize=FONT)
        axes.set_ylabel(y.heading, fontsize=FONT)
        axes.tick_params(labelsize=FONT - 1, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        y_ends = [_interval_ends(point.y, point.y_interval) for point in panel.points]
        _set_range(axes.yaxis, y, [point.y for point in panel.points], y_ends, panel.y_floor)
        if is_setting:
            _setting_axis(axes, sorted({point.x for point in panel.points}))
        else:
            x_ends = [_interval_ends(point.x, point.x_interval) for point in panel.points]
            _set_range(axes.xaxis, x, [point.x for point in panel.points], x_ends, panel.x_floor)
        _draw_floors(axes, panel)
        for line in panel.lines:
            _draw(axes, line, _style(labels.index(line.label)), band=is_setting)
    # A legend, since labels beside the points would hide one another: good models lie close together.
    handles = [
        Line2D([], [], linestyle="-" if is_setting else "none", markersize=5, label=label, **_style(index))
        for index, label in enumerate(labels)
    ]
    figure.legend(
        handles=handles,
        loc="outside right upper",
        fontsize=FONT,
        ncols=columns,
        title="mean, 95 % interval" + (f",\njoined along {joined_key}" if joined_key and not is_setting else ""),
        title_fontsize=FONT,
        frameon=False,
    )
    return figure


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


def _style(index: int) -> dict[str, Any]:
    return {"marker": MARKERS[index % len(MARKERS)], "color": COLOURS[index % len(COLOURS)]}


def _draw(axes: Axes, line: Line, style: dict[str, Any], *, band: bool) -> None:
    """A line's points, with a band or bars for their intervals."""
    x, x_interval, y, y_interval = (
        np.array([getattr(point, name) for point in line.points]) for name in ("x", "x_interval", "y", "y_interval")
    )
    if band and len(x) > 1:
        half = np.nan_to_num(y_interval)
        axes.plot(x, y, markersize=4, linewidth=1.2, alpha=0.9, **style)
        # A logarithmic axis cannot show 0 or less: the band ends at the lower limit of the axis.
        low = y - half if axes.get_yscale() == "linear" else np.maximum(y - half, axes.get_ylim()[0])
        axes.fill_between(x, low, y + half, color=style["color"], alpha=0.15, linewidth=0)
        return
    joined = len(x) > 1
    axes.errorbar(
        x, y, xerr=np.nan_to_num(x_interval), yerr=np.nan_to_num(y_interval), fmt="none",
        elinewidth=0.9, capsize=0 if joined else 2, alpha=0.3 if joined else 0.9, ecolor=style["color"],
    )  # fmt: skip
    axes.plot(x, y, markersize=4 if joined else 5, linewidth=0.9, alpha=0.9, **style)
    for name, point in zip(line.end_labels, (line.points[0], line.points[-1]), strict=True):
        axes.annotate(
            name, (point.x, point.y), xytext=(3, 3), textcoords="offset points", fontsize=FONT - 2, color=style["color"]
        )


def scatter(points: NDArray[Any], labels: NDArray[Any], *, names: tuple[str, str]) -> Figure:
    """A scatter plot with a colour and a marker per label. Shape: points (N, 2), labels (N,). names: of the axes."""
    figure = Figure(figsize=(3.6, 3.0), dpi=144, layout="constrained")
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(names[0], fontsize=FONT)
    axes.set_ylabel(names[1], fontsize=FONT)
    axes.tick_params(labelsize=FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    known = np.unique(labels)
    for index, label in enumerate(known):
        x, y = points[labels == label].T
        style = _style(index) | {"markersize": 3, "markeredgewidth": 0, "alpha": 0.75, "linestyle": "none"}
        axes.plot(x, y, label=str(label), **style)
    if len(known) > 1:
        columns = math.ceil(len(known) / NAMES_PER_COLUMN)
        figure.legend(
            loc="outside right upper", ncols=columns, frameon=False, markerscale=1.5, handletextpad=0,
            title="label", title_fontsize=FONT, fontsize=FONT,
        )  # fmt: skip
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `<stem>.png` and `<stem>.pdf`, reproducibly to the byte. Returns: their paths."""
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        content = io.BytesIO()
        figure.savefig(content, format=suffix[1:], dpi=300, metadata=metadata, bbox_inches="tight")
        paths.append(stem.with_name(stem.name + suffix))
        write_atomically(paths[-1], content.getvalue())
    return paths

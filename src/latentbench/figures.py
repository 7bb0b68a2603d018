"""The figures of a study: what the models draw, and how good that is against how sharp."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, NullFormatter
from numpy.typing import NDArray

from latentbench.record import write_whole

# Okabe & Ito's colours, which the colour-blind tell apart, less yellow, which is faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
FONT = 8  # points, the size of a paper's captions
NAMES_PER_COLUMN = 14  # of a legend as high as its panel
Images = NDArray[np.uint8]  # (N, C, H, W)


@dataclasses.dataclass(frozen=True)
class SampleRow:
    """A line of the sample grid: its name, and images by the block they stand in."""

    label: str
    images: Mapping[str, Images]


@dataclasses.dataclass(frozen=True)
class Point:
    """A table row in the scatter plot: mean and half-width of the interval (nan: none) on either axis."""

    label: str
    x: float
    x_interval: float
    y: float
    y_interval: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """What was measured on one scale: points, and what real images score on the y axis (None: unknown)."""

    title: str
    points: Sequence[Point]
    floor: float | None


def samples(rows: Sequence[SampleRow], blocks: Mapping[str, str], *, per_block: int = 8) -> Figure:
    """A grid of images: a line per row, a column of `per_block` images per block (key -> heading)."""
    size, gap, top = 0.27, 0.12, 0.25  # inches
    left = 0.15 + 0.062 * max(len(row.label) for row in rows)
    block_width = per_block * size
    width = left + len(blocks) * (block_width + gap)
    height = top + len(rows) * (size + 0.04) + 0.05
    figure = Figure(figsize=(width, height))
    for column, (key, heading) in enumerate(blocks.items()):
        x = left + column * (block_width + gap)
        figure.text((x + block_width / 2) / width, 1 - 0.6 * top / height, heading, ha="center", fontsize=FONT)
        for line, row in enumerate(rows):
            y = height - top - (line + 1) * (size + 0.04)
            if key in row.images:
                axes = figure.add_axes((x / width, y / height, block_width / width, size / height))
                _strip(axes, row.images[key][:per_block], per_block)
    for line, row in enumerate(rows):
        y = height - top - (line + 1) * (size + 0.04) + size / 2
        figure.text((left - 0.08) / width, y / height, row.label, ha="right", va="center", fontsize=FONT)
    return figure


def _strip(axes: Axes, images: Images, places: int) -> None:
    """Images side by side, from the left, with white between them."""
    channels, height, width = images.shape[1:]
    margin = max(1, round(0.06 * width))
    canvas = np.full((height, places * (width + margin), channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        start = index * (width + margin)
        canvas[:, start : start + width] = image.transpose(1, 2, 0)
    shown = canvas[..., 0] if channels == 1 else canvas
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal", origin="upper")
    axes.set_anchor("W")
    axes.set_axis_off()


def fid_against_sharpness(panels: Sequence[Panel]) -> Figure:
    """FID of prior samples against their sharpness relative to real images: a panel per scale.

    Real images lie where the lines cross: at a ratio of 1, on the FID of real against real images.
    """
    labels = list(dict.fromkeys(point.label for panel in panels for point in panel.points))
    columns = math.ceil(len(labels) / NAMES_PER_COLUMN)
    figure = Figure(figsize=(1.3 * max(1, columns) + max(4.0, 3.2 * len(panels)), 3.2), layout="constrained")
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        axes.set_title(panel.title, fontsize=FONT)
        axes.set_xlabel("sharpness of prior samples / of real images", fontsize=FONT)
        axes.set_ylabel("FID of prior samples", fontsize=FONT)
        axes.tick_params(labelsize=FONT - 1, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        _axes_ranges(axes, panel)
        _real_lines(axes, panel)
        for point in panel.points:
            _draw(axes, point, labels.index(point.label))
    # names beside the points would hide one another: good models lie close together
    handles = [
        Line2D([], [], linestyle="none", markersize=5, label=label, **_look(index))
        for index, label in enumerate(labels)
    ]
    title = "mean, 95 % interval"
    figure.legend(
        handles=handles,
        loc="outside right upper",
        fontsize=FONT,
        ncols=max(1, columns),
        title=title,
        title_fontsize=FONT,
        frameon=False,
    )
    return figure


def _axes_ranges(axes: Axes, panel: Panel) -> None:
    """Room for every mean and interval; a log axis for FIDs that span more than 1.5 decades."""
    x_ends = [1.0] + [x for p in panel.points for x in _ends(p.x, p.x_interval)]
    margin = 0.12 * max(max(x_ends) - min(x_ends), 0.1)
    axes.set_xlim(max(0.0, min(x_ends) - margin), max(x_ends) + margin)
    means = [p.y for p in panel.points] + ([] if panel.floor is None else [panel.floor])
    tops = [_ends(p.y, p.y_interval)[1] for p in panel.points]
    if min(means) > 0 and max(means) / min(means) > 10**1.5:
        axes.set_yscale("log")
        axes.set_ylim(min(means) / 1.6, max(*means, *tops) * 1.6)
        axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=True))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(min(0.0, *means), max(*means, *tops) * 1.12 or 1.0)


def _ends(mean: float, interval: float) -> tuple[float, float]:
    half = 0.0 if math.isnan(interval) else interval
    return mean - half, mean + half


def _real_lines(axes: Axes, panel: Panel) -> None:
    axes.axvline(1.0, linestyle=":", color="0.55", linewidth=0.8, zorder=0)
    if panel.floor is not None:
        axes.axhline(panel.floor, linestyle="--", color="0.55", linewidth=0.8, zorder=0)
        axes.annotate(
            "real against real", (1.0, panel.floor), xycoords=("axes fraction", "data"),
            xytext=(0, 2), textcoords="offset points", ha="right", fontsize=FONT - 1, color="0.4",
        )  # fmt: skip


def _look(index: int) -> dict[str, Any]:
    return {"marker": MARKERS[index % len(MARKERS)], "color": COLOURS[index % len(COLOURS)]}


def _draw(axes: Axes, point: Point, index: int) -> None:
    axes.errorbar(
        point.x, point.y, xerr=np.nan_to_num(point.x_interval), yerr=np.nan_to_num(point.y_interval),
        markersize=5, elinewidth=0.9, capsize=2, alpha=0.9, **_look(index),
    )  # fmt: skip


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `<stem>.png` and `<stem>.pdf`, the same bytes every time; their paths."""
    paths = []
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        content = io.BytesIO()
        figure.savefig(content, format=suffix[1:], dpi=300, metadata=metadata, bbox_inches="tight")
        paths.append(stem.with_name(stem.name + suffix))
        write_whole(paths[-1], content.getvalue())
    return paths

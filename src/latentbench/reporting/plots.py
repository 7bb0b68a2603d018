"""Drawing with matplotlib: grids of samples, and points by label."""

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
        figure.text(
            (left - 0.08) / width, y / height, row.label, ha="right", va="center", fontsize=FONT, parse_math=False
        )
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


def style_of(index: int) -> dict[str, Any]:
    """The marker and the colour of the things of one kind, counted from 0."""
    return {"marker": MARKERS[index % len(MARKERS)], "color": COLOURS[index % len(COLOURS)]}


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
        style = style_of(index) | {"markersize": 3, "markeredgewidth": 0, "alpha": 0.75, "linestyle": "none"}
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

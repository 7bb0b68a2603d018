"""From a study's summary and its runs' images to its figures."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentbench.records.record import Record
from latentbench.records.store import images_of
from latentbench.reporting import plots as figures
from latentbench.reporting.columns import column_of, floors_of
from latentbench.reporting.image_grids import only_images
from latentbench.reporting.summary import Summary, label, mean_interval, scales, shown

RECONSTRUCTION = "reconstruction"


def make_figures(
    summary: Summary, folder: Path, *, samples: Sequence[str], plots: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Figure], list[str]]:
    """The figures that the records and the images of the runs in the study's `folder` allow, and notes on the others.

    samples: whose images stand side by side in the figure `samples`: samplers, reconstruction, interpolation
    plots: figure -> its `x` and `y`, each a metric or, of x, a setting that tells rows apart
    """
    made: dict[str, Figure] = {}
    rows, notes = _sample_rows(summary, folder, samples)
    blocks = {key: "reconstructions" if key == RECONSTRUCTION else f"samples, {key}" for key in samples}
    blocks = {key: heading for key, heading in blocks.items() if any(key in row.images for row in rows)}
    if blocks:
        made["samples"] = figures.samples(rows, blocks, per_block=8 if len(blocks) <= 4 else 4)  # as a page is wide
    for name, axes in plots.items():
        x, y = axes["x"], axes["y"]
        panels = _panels(summary, x, y)
        if panels:
            made[name] = figures.plot(
                panels,
                x=_axis(summary, x),
                y=_axis(summary, y),
                joined=_joined(summary, x),
                setting=x in summary.keys,
            )
        else:
            notes.append(f"no figure {name}: no row has both {x} and {y}")
    return made, notes


def pictured(summary: Summary, index: int) -> Record | None:
    """The run whose images stand for a row: the finished one of the lowest seed."""
    return next((run for run in summary.runs[index] if run.status == "finished"), None)


def _name(summary: Summary, index: int, without: str | None = None) -> str:
    """A row's name beside others of its scale."""
    keys = [key for key in summary.keys if key not in summary.scale and key != without]
    return label(summary, index, keys or summary.keys)


def _axis(summary: Summary, key: str) -> figures.Axis:
    """A metric or a setting on an axis; nats are logarithms already, and shares end at 1."""
    if key in summary.keys:
        return figures.Axis(key)
    column = column_of([run for runs in summary.runs.values() for run in runs], key)
    is_share = column.units in ("of samples", "of real") and not key.split("/")[0].endswith("_ratio")
    return figures.Axis(column.heading, may_be_log=column.units != "nats" and not is_share)


def _sample_rows(summary: Summary, folder: Path, blocks: Sequence[str]) -> tuple[list[figures.SampleRow], list[str]]:
    """Real images above what each row's first finished run drew, scale by scale."""
    rows: list[figures.SampleRow] = []
    notes: list[str] = []
    for scale, indices in scales(summary).items():
        drawn: dict[str, dict[str, figures.Images]] = {}
        for index in indices:
            run = pictured(summary, index)
            images = only_images(kept_by_run(folder, run)) if run else {}
            if "real" in images:
                drawn[_name(summary, index)] = images
            elif run:
                notes.append(f"figure samples: no images of {run.run_id}")
        originals = next((images["original"] for images in drawn.values() if "original" in images), None)
        for name, images in drawn.items():
            # below other originals than its own, a reconstruction would look wrong
            other = not np.array_equal(images.get("original", []), originals if originals is not None else [])
            if other and images.pop(RECONSTRUCTION, None) is not None:
                notes.append(f"figure samples: {name} reconstructed other images, which are not shown")
        if drawn:
            real = next(iter(drawn.values()))["real"]
            above = dict.fromkeys(blocks, real) | {RECONSTRUCTION: originals}
            has = {key for images in drawn.values() for key in images}
            heads = {key: images for key, images in above.items() if images is not None and key in has}
            rows.append(figures.SampleRow(f"real images, {scale}" if scale else "real images", heads))
            rows += [figures.SampleRow(name, images) for name, images in drawn.items()]
    return rows, notes


def kept_by_run(folder: Path, run: Record) -> dict[str, NDArray[Any]]:
    """What a run keeps to be seen; nothing if the file is not there or cannot be read. `folder` is the study's."""
    try:
        with np.load(images_of(folder, run), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}


def _joined(summary: Summary, x: str) -> str | None:
    """The setting along which a figure joins its points: x if it is one, else the first of several numbers."""
    free = [x] if x in summary.keys else [key for key in summary.keys if key not in summary.scale]
    for key in free:
        of_scales = [{summary.table.loc[index, key] for index in indices} for indices in scales(summary).values()]
        are_numbers = all(isinstance(v, int | float) for values in of_scales for v in values if v is not None)
        if are_numbers and any(len(values) > 1 for values in of_scales):
            return key
    return None


def _panels(summary: Summary, x: str, y: str) -> list[figures.Panel]:
    """Rows that have both, scale by scale; those alike in all but the setting that joins them make a line."""
    joined = _joined(summary, x)
    panels = []
    for scale, indices in scales(summary).items():
        finished = {index: [run for run in summary.runs[index] if run.status == "finished"] for index in indices}
        lines: dict[str, dict[int, figures.Point]] = {}
        for index, runs in finished.items():
            point = _point(summary, index, runs, x, y)
            if point:
                lines.setdefault(_name(summary, index, without=joined), {})[index] = point
        if lines:
            floors = floors_of([run for runs in finished.values() for run in runs], [x, y])
            x_floor, y_floor = (floors[key][0] if key in floors else None for key in (x, y))
            drawn = [
                figures.Line(name, list(points.values()), _ends(summary, list(points), joined))
                for name, points in lines.items()
            ]
            panels.append(figures.Panel(title=scale, lines=drawn, x_floor=x_floor, y_floor=y_floor))
    return panels


def _ends(summary: Summary, indices: Sequence[int], joined: str | None) -> tuple[str, str]:
    """What the first and the last point of a line are, along what joins them."""
    if joined is None or len(indices) < 2:
        return ("", "")
    first, last = (shown(summary.table.loc[index, joined]) for index in (indices[0], indices[-1]))
    return first, last


def _point(summary: Summary, index: int, runs: Sequence[Record], x: str, y: str) -> figures.Point | None:
    """A row's place in a plot; None if it has none."""
    if x in summary.keys:
        value = summary.table.loc[index, x]
        values = [run.metrics[y] for run in runs if y in run.metrics]
        if not values or not isinstance(value, int | float):
            return None
        return figures.Point(float(value), float("nan"), *mean_interval(values)[:2])
    both = [run.metrics for run in runs if {x, y} <= run.metrics.keys()]
    if not both:
        return None
    (x_mean, x_interval, _), (y_mean, y_interval, _) = (mean_interval([m[key] for m in both]) for key in (x, y))
    return figures.Point(x_mean, x_interval, y_mean, y_interval)

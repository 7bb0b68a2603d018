"""The figures of a study: grids of samples, and one quantity against another or against a setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from latentbench.configuration.catalogue import option_file, option_files
from latentbench.records.record import Record
from latentbench.reporting import plots, point_plots
from latentbench.reporting.columns import describe_column
from latentbench.reporting.families import family_of
from latentbench.reporting.image_grids import NOT_SAMPLES, load_arrays, only_images
from latentbench.reporting.plots import Images, SampleRow, as_shown
from latentbench.reporting.significance import mean_interval
from latentbench.reporting.summary import Row, Scale, Summary, format_value, join_rows

RECONSTRUCTION = "reconstruction"
SHARES = ("of samples", "of real", "of images")  # units


def make_figures(
    summary: Summary, folder: Path, *, samples: Sequence[str], axes: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Figure], list[str]]:
    """The figures that the records and the images in the study's `folder` allow, and notes on what is missing.

    samples: the image sets of the figure `samples`, side by side: samplers, reconstruction, interpolation
    axes: figure -> its `x` and `y`, each a metric; `x` may be a row key instead
    """
    figures: dict[str, Figure] = {}
    rows, notes = _sample_rows(summary, folder, samples)
    known = {*NOT_SAMPLES, *(key for row in rows for key in row.images)}
    unknown = [key for key in samples if key not in known and option_file("sampler", key) is None]
    if unknown:
        sets = [*(path.stem for path in option_files("sampler")), *NOT_SAMPLES]
        notes.append(f"figure samples: no {', '.join(unknown)} (table.samples); choose from {', '.join(sets)}")
    headings = {key: "reconstructions" if key == RECONSTRUCTION else f"samples, {key}" for key in samples}
    headings = {key: heading for key, heading in headings.items() if any(key in row.images for row in rows)}
    if headings:
        per_block = 8 if len(headings) <= 4 else 4  # so that the figure fits on a page
        figures["samples"] = plots.sample_grid(rows, headings, per_block=per_block)
    for name, of_figure in axes.items():
        x, y = of_figure["x"], of_figure["y"]
        joined_key = _joined_key(summary, x)
        panels = _panels(summary, x, y, joined_key)
        if panels:
            figures[name] = point_plots.plot(
                panels, x=_axis(summary, x), y=_axis(summary, y), joined_key=joined_key, is_setting=x in summary.keys
            )
            drawn = {point.row for panel in panels for point in panel.points}
            absent = [row.label for row in summary.rows if row.finished and row.index not in drawn]
            if absent and x in summary.keys:
                notes.append(f"figure {name}: without {join_rows(absent, summary.rows)}: no number {x} or no {y}")
        else:
            notes.append(f"no figure {name}: no row has both {x} and {y}")
    return figures, notes


def shown_run(row: Row) -> Record | None:
    """The run whose images stand for a row: the finished one with the lowest seed."""
    return next(iter(row.finished), None)


def _axis(summary: Summary, key: str) -> point_plots.Axis:
    """The axis of a metric or a setting. It is never logarithmic for nats, which are logarithms, nor for shares."""
    if key in summary.keys:
        return point_plots.Axis(key)
    column = describe_column(summary.runs, key)
    is_share = column.units in SHARES and not key.split("/")[0].endswith("_ratio")
    return point_plots.Axis(
        column.heading, may_be_log=column.units != "nats" and not is_share, share=column.units if is_share else ""
    )


def _sample_rows(summary: Summary, folder: Path, image_sets: Sequence[str]) -> tuple[list[SampleRow], list[str]]:
    """For each scale, real images and below them the images of each row; also notes on what is missing."""
    rows: list[SampleRow] = []
    notes: list[str] = []
    for scale in summary.scales:
        images_of_row: dict[str, dict[str, Images]] = {}
        for row in scale.rows:
            run = shown_run(row)
            images = only_images(load_arrays(folder, run)) if run else {}
            if "real" in images:
                images_of_row[row.name] = images
            elif run:
                notes.append(f"figure samples: no images of {run.run_id}")
        originals = next((images["original"] for images in images_of_row.values() if "original" in images), None)
        for name, images in images_of_row.items():
            # Reconstructions are only shown below their own originals. Restored runs have fewer of both.
            own = images.get("original")
            if own is not None and originals is not None:
                compared = min(len(own), len(originals))
                differ = not np.array_equal(own[:compared], originals[:compared])
            else:
                differ = True
            if differ and images.pop(RECONSTRUCTION, None) is not None:
                notes.append(f"figure samples: reconstructions of {name} are not shown: they are of other images")
        if images_of_row:
            real = next(iter(images_of_row.values()))["real"]
            references = dict.fromkeys(image_sets, real) | {RECONSTRUCTION: originals}
            available = {key for images in images_of_row.values() for key in images}
            top_row = {key: images for key, images in references.items() if images is not None and key in available}
            label = f"real images, {scale.name}" if scale.name else "real images"
            channels = f" (mean of {real.shape[1]} channels)" if as_shown(real).shape[1] != real.shape[1] else ""
            rows.append(SampleRow(label + channels, top_row))
            rows += [SampleRow(name, images) for name, images in images_of_row.items()]
    return rows, notes


def _joined_key(summary: Summary, x: str) -> str | None:
    """The row key along which points are joined: `x` or, if that is a metric, the first key with several numbers."""
    candidates = [x] if x in summary.keys else [key for key in summary.keys if key not in summary.scale_keys]
    for key in candidates:
        values_of_scale = [{row.values[key] for row in scale.rows} for scale in summary.scales]
        if any(sum(isinstance(v, int | float) for v in values) > 1 for values in values_of_scale):
            return key
    return None


def _panels(summary: Summary, x: str, y: str, joined_key: str | None) -> list[point_plots.Panel]:
    """A panel per scale with the rows that have both; rows that differ in `joined_key` alone make a line."""
    panels = []
    for scale in summary.scales:
        lines: dict[str, dict[Row, point_plots.Point]] = {}
        for row in scale.rows:
            point = _point(row, x, y)
            if point:
                lines.setdefault(row.name_without(joined_key), {})[row] = point
        if lines:
            ends_of = None if x in summary.keys else joined_key  # an axis needs no labels of its ends
            drawn = [
                point_plots.Line(
                    name,
                    list(points.values()),
                    family_of(next(iter(points)).runs[0]),
                    _end_labels(list(points), ends_of),
                )
                for name, points in lines.items()
            ]
            panels.append(_panel(scale, drawn, x, y))
    return panels


def _panel(scale: Scale, lines: Sequence[point_plots.Line], x: str, y: str) -> point_plots.Panel:
    return point_plots.Panel(title=scale.name, lines=lines, x_floor=scale.floor_of(x), y_floor=scale.floor_of(y))


def _end_labels(rows: Sequence[Row], joined_key: str | None) -> tuple[str, str]:
    """The values of `joined_key` at the two ends of a line."""
    if joined_key is None or len(rows) < 2:
        return ("", "")
    return format_value(rows[0].values[joined_key]), format_value(rows[-1].values[joined_key])


def _point(row: Row, x: str, y: str) -> point_plots.Point | None:
    """The point of a row in a plot; None if the row does not have both x and y."""
    if x in row.values:
        setting = row.values[x]
        values = [run.metrics[y] for run in row.finished if y in run.metrics]
        if not values or not isinstance(setting, int | float):
            return None
        return point_plots.Point(
            float(setting), float("nan"), *mean_interval(values)[:2], row.index, has_caveat=bool(row.caveats_of(y))
        )
    both = [run.metrics for run in row.finished if {x, y} <= run.metrics.keys()]
    if not both:
        return None
    (x_mean, x_interval, _), (y_mean, y_interval, _) = (mean_interval([m[key] for m in both]) for key in (x, y))
    has_caveat = bool(row.caveats_of(x) or row.caveats_of(y))
    return point_plots.Point(x_mean, x_interval, y_mean, y_interval, row.index, has_caveat=has_caveat)

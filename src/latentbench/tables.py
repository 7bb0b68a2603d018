"""`latentbench-tables`: a study's table and figures from its records alone; nothing is trained.

In a notebook:
    >>> records, unreadable = load_records(Path("outputs/quick"))  # doctest: +SKIP
    >>> summary = summarize(records, rows=["method"])  # doctest: +SKIP
    >>> print(to_text(summary))  # doctest: +SKIP
    >>> frame(records)  # one row per run, as a pandas DataFrame  # doctest: +SKIP
"""

import dataclasses
import io
import math
import shutil
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import HydraException
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentbench import configuration, figures
from latentbench.comparison import frame
from latentbench.errors import UserError
from latentbench.record import FILE_NAME, Record, load, write_whole
from latentbench.rendering import to_csv, to_latex, to_markdown, to_text
from latentbench.summary import Summary, label, mean_interval, summarize

__all__ = [
    "frame", "load_records", "main", "make_figures", "summarize",
    "to_csv", "to_latex", "to_markdown", "to_text",
]  # fmt: skip

HELP = """latentbench-tables: a study's table and figures, from its records alone.

Usage:
  latentbench-tables sweep=quick                    the study of sweeps/quick.yaml
  latentbench-tables study=mine output_dir=results  the records below results/mine
  latentbench-tables sweep=quick 'table.rows=[method,latent_size]' 'table.columns=[fid/prior,nll/test]'

Reads  <output_dir>/<study>/*/record.json (output_dir: outputs, study: adhoc unless said otherwise).
Writes <output_dir>/<study>/table.md, table.csv, table.tex, samples.png and .pdf,
       fid_against_sharpness.png and .pdf.

table.rows     choices (or keys of the config) that make a row; seeds are averaged over, nothing else is
table.columns  metrics, as <metric>/<of what>; null: all that were recorded

Studies:
{studies}
"""
SAMPLES = {"prior": "samples, prior", "gmm": "samples, gmm", "reconstruction": "reconstructions"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write a study's table and figures; 2 if the command or the records cannot be used."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show an arrow still shows the table
    if {"-h", "--help"} & set(arguments):
        print(HELP.format(studies=_studies()))
        return 0
    try:
        _tables(configuration.compose_config(list(arguments)))
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"latentbench-tables: {configuration.explain(error)}", file=sys.stderr)
        return 2
    return 0


def _studies() -> str:
    paths = configuration.option_files("sweep")
    return "\n".join(f"  {path.stem:14} {configuration.sentence(path)}" for path in paths)


def _tables(config: DictConfig) -> None:
    folder, summary = read_study(config)
    made, missing = make_figures(summary, folder)
    summary = dataclasses.replace(summary, notes=[*summary.notes, *missing])
    question = OmegaConf.select(config, "question")
    written = [folder / name for name in ("table.md", "table.csv", "table.tex")]
    texts = (to_markdown(summary, title=config.study, question=question), to_csv(summary), to_latex(summary))
    for path, text in zip(written, texts, strict=True):
        write_whole(path, text.encode())
    for name, figure in made.items():
        written += figures.save(figure, folder / name)
    print(to_text(summary, width=shutil.get_terminal_size((120, 24)).columns))
    print("\nwritten:", *written, sep="\n  ")


def read_study(config: DictConfig) -> tuple[Path, Summary]:
    """The folder of the config's study and its table, whose first notes name the records that cannot be used.

    Raises: UserError if the config has no meaning or there are no records.
    """
    configuration.check(config)
    folder = Path(config.output_dir) / config.study
    records, unreadable = load_records(folder)
    for line in unreadable:
        print(f"warning: {line}", file=sys.stderr)
    if not records:
        raise UserError(_no_records(config, folder, len(unreadable)))
    rows, columns = _names(config, "table.rows"), _names(config, "table.columns")
    grid = config.hydra.sweeper.params or {}
    order = {str(key): [value.strip() for value in str(values).split(",")] for key, values in grid.items()}
    summary = summarize(records, rows=rows or [], columns=columns, order=order)
    return folder, dataclasses.replace(summary, notes=[*unreadable, *summary.notes])


def _names(config: DictConfig, key: str) -> list[str] | None:
    """A list of names that may be given as one name."""
    value = OmegaConf.select(config, key)
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(name) for name in value]


def _no_records(config: DictConfig, folder: Path, unreadable: int) -> str:
    sweep = OmegaConf.select(config, "hydra.runtime.choices.sweep")
    command = f"-m sweep={sweep}" if sweep else f"study={config.study}"
    if str(config.output_dir) != "outputs":
        command += f" output_dir={config.output_dir}"
    what = "no records" if not unreadable else "no readable records"
    return f"{what} in {folder}; `latentbench {command}` makes them"


def load_records(folder: Path) -> tuple[list[Record], list[str]]:
    """The records in `<folder>/*/record.json`, and a line on each that cannot be used.

    Folders named after their run come first: where a run was copied, they are the originals.
    """
    records: list[tuple[bool, str, Record]] = []
    unreadable = []
    for path in sorted(folder.glob(f"*/{FILE_NAME}")):
        try:
            record = load(path)
            _check(record, path)
        except UserError as error:
            unreadable.append(f"left out: {' '.join(str(error).split())}")
            continue
        records.append((path.parent.name != record.run_id, path.parent.name, record))
    return [record for _, _, record in sorted(records, key=lambda found: found[:2])], unreadable


def _check(record: Record, path: Path) -> None:
    """Raises: UserError if the table could not tell the run's seed or a number of it."""
    parts: tuple[Any, ...] = (
        record.choices, record.config, record.environment, record.metrics, record.skipped, record.seconds
    )  # fmt: skip
    if not all(isinstance(part, dict) for part in parts) or not isinstance(record.choices.get("seed"), int):
        raise UserError(f"{path} is not a run's record: choices, config or seed are missing")
    for key, value in record.metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{path} has {key}={value!r}, which is not a finite number")


def make_figures(summary: Summary, folder: Path) -> tuple[dict[str, Figure], list[str]]:
    """The figures that the records and the images of the runs in `folder` allow, and notes on the others."""
    made: dict[str, Figure] = {}
    rows, notes = _sample_rows(summary, folder)
    blocks = {key: heading for key, heading in SAMPLES.items() if any(key in row.images for row in rows)}
    if blocks:
        made["samples"] = figures.samples(rows, blocks)
    panels = _panels(summary)
    if panels:
        made["fid_against_sharpness"] = figures.fid_against_sharpness(panels)
    else:
        notes.append("no figure fid_against_sharpness: no row has both fid/prior and sharpness_ratio/prior")
    return made, notes


def _scales(summary: Summary) -> dict[str, list[int]]:
    """Indices of the rows measured on one scale, by its name."""
    scales: dict[str, list[int]] = {}
    for index in summary.runs:
        scales.setdefault(label(summary, index, summary.scale), []).append(index)
    return scales


def _name(summary: Summary, index: int) -> str:
    """A row's name beside others of its scale."""
    return label(summary, index, [key for key in summary.keys if key not in summary.scale] or summary.keys)


def _sample_rows(summary: Summary, folder: Path) -> tuple[list[figures.SampleRow], list[str]]:
    """Real images above what each row's first finished run drew, scale by scale."""
    rows: list[figures.SampleRow] = []
    notes: list[str] = []
    for scale, indices in _scales(summary).items():
        drawn: dict[str, dict[str, figures.Images]] = {}
        for index in indices:
            run = next((run for run in summary.runs[index] if run.status == "finished"), None)
            images = run_images(folder, run) if run else {}
            if "real" in images:
                drawn[_name(summary, index)] = images
            elif run:
                notes.append(f"figure samples: no images of {run.run_id}")
        originals = next((images["original"] for images in drawn.values() if "original" in images), None)
        for name, images in drawn.items():
            # below other originals than its own, a reconstruction would look wrong
            other = not np.array_equal(images.get("original", []), originals if originals is not None else [])
            if other and images.pop("reconstruction", None) is not None:
                notes.append(f"figure samples: {name} reconstructed other images, which are not shown")
        if drawn:
            real = next(iter(drawn.values()))["real"]
            above = {"prior": real, "gmm": real, "reconstruction": originals}
            has = {key for images in drawn.values() for key in images}
            heads = {key: images for key, images in above.items() if images is not None and key in has}
            rows.append(figures.SampleRow(f"real images, {scale}" if scale else "real images", heads))
            rows += [figures.SampleRow(name, images) for name, images in drawn.items()]
    return rows, notes


def run_images(folder: Path, run: Record) -> dict[str, figures.Images]:
    """A run's images by name; none if the file is not there or cannot be read."""
    try:
        with np.load(folder / run.run_id / "images.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}
    return {name: array for name, array in arrays.items() if array.ndim == 4 and array.dtype == np.uint8}


def _panels(summary: Summary) -> list[figures.Panel]:
    """Rows that have both numbers of the scatter plot, scale by scale."""
    panels = []
    for scale, indices in _scales(summary).items():
        finished = {i: [run for run in summary.runs[i] if run.status == "finished"] for i in indices}
        points = []
        for index, runs in finished.items():
            both = [run.metrics for run in runs if {"fid/prior", "sharpness_ratio/prior"} <= run.metrics.keys()]
            x, x_interval, n = mean_interval([metrics["sharpness_ratio/prior"] for metrics in both])
            y, y_interval, _ = mean_interval([metrics["fid/prior"] for metrics in both])
            if n:
                points.append(figures.Point(_name(summary, index), x, x_interval, y, y_interval))
        floors = [run.metrics["fid/real"] for runs in finished.values() for run in runs if "fid/real" in run.metrics]
        if points:
            floor = float(np.mean(floors)) if floors else None
            panels.append(figures.Panel(title=scale, points=points, floor=floor))
    return panels

"""The part of a study's page about each run: images, measures and settings."""

import base64
import dataclasses
import math
from pathlib import Path

from latentbench.configuration.settings import settings
from latentbench.records.record import Record
from latentbench.reporting.formats import PLUS_MINUS
from latentbench.reporting.image_grids import Picture, load_arrays, pictures, to_png
from latentbench.reporting.summary import Row, format_value

ROUNDING = 1e-6  # of a number, the standard error of what is the same for all images
LINES = 4  # lines of images in a picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCard:
    """A run as shown on the page.

    set_names: the image sets (`prior`, `test`, ...) of its metrics
    measures: quantity -> set name -> the number with its standard error
    settings: everything that can change its result, and what it ran on
    """

    run: Record
    pictures: list[Picture]
    set_names: list[str]
    measures: dict[str, dict[str, str]]
    settings: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowCards:
    """The runs of a row."""

    row: Row
    runs: list[RunCard]


def make_card(folder: Path, run: Record) -> RunCard:
    """A run's card; its images are in the study's `folder`."""
    # Real images are not shown again: they are in the page's first figure.
    shown = [picture for key, picture in pictures(load_arrays(folder, run), lines=LINES).items() if key != "real"]
    measures = measures_of(run)
    return RunCard(
        run=run,
        pictures=shown,
        set_names=sorted({name for numbers in measures.values() for name in numbers}),
        measures=measures,
        settings=_settings(run),
    )


def data_uri(picture: Picture) -> str:
    """A picture as the data URI of a PNG."""
    return f"data:image/png;base64,{base64.b64encode(to_png(picture)).decode()}"


def measures_of(run: Record) -> dict[str, dict[str, str]]:
    """Quantity -> set name -> the number with its standard error."""
    measures: dict[str, dict[str, str]] = {}
    for key, value in sorted(run.metrics.items()):
        quantity, _, set_name = key.partition("/")
        error = run.standard_errors.get(key)
        measures.setdefault(quantity, {})[set_name] = _with_error(value, error) if error else f"{value:.4g}"
    return measures


def _with_error(value: float, error: float) -> str:
    """A number and its standard error, to two digits of the latter; one that is but rounding is left out."""
    if error <= ROUNDING * abs(value):
        return f"{value:.6g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} {PLUS_MINUS} {error:.{places}f}"


def _settings(run: Record) -> dict[str, str]:
    seconds = {f"seconds.{phase}": spent for phase, spent in run.seconds.items()}
    packages = run.environment.get("packages") or {}
    environment = {key: value for key, value in run.environment.items() if key != "packages"}
    environment |= {f"packages.{package}": version for package, version in packages.items()}
    every = settings(run.choices, run.config) | {"n_parameters": run.n_parameters} | seconds | environment
    return {key: format_value(value) for key, value in every.items()}

"""Reads the records of a study, and makes the table and the figures that its config describes."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.value_checks import check
from latentbench.errors import UserError
from latentbench.records.record import Record
from latentbench.records.store import load_records
from latentbench.records.tuning import tune_of
from latentbench.records.wandb_records import load_wandb_records
from latentbench.reporting.columns import Measures, describe_column
from latentbench.reporting.study_figures import make_figures
from latentbench.reporting.summarize import summarize
from latentbench.reporting.summary import Summary
from latentbench.reporting.tuned import Tuned, chosen_rows, read_tuned
from latentbench.reporting.tuned_figure import best_of_trials
from latentbench.reporting.tuning_notes import notes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRecords:
    """The records of a study.

    folder: the folder of the study, with the images of its runs
    left_out: a message for each record that cannot be used
    """

    folder: Path
    records: list[Record]
    left_out: list[str]


def read_records(config: DictConfig) -> StudyRecords:
    """Read a study's records; print a warning for each that cannot be used.

    Raises: UserError if a value of the config is invalid or there are no records.
    """
    check(config)
    folder = Path(config.output_dir) / config.study
    records, left_out = _load(config, folder)
    for line in left_out:
        print(f"warning: {line}", file=sys.stderr)
    if not records:
        raise UserError(_no_records(config, folder, bool(left_out)))
    return StudyRecords(folder=folder, records=records, left_out=left_out)


def _load(config: DictConfig, folder: Path) -> tuple[list[Record], list[str]]:
    if config["from"] == "records":
        return load_records(folder)
    if config["from"] != "wandb":
        raise UserError(f"from={config['from']}: choose records or wandb")
    if not config.logger.get("project"):
        raise UserError("from=wandb needs a project: logger=wandb logger.entity=... logger.project=...")
    return load_wandb_records(config.logger.entity, config.logger.project, config.study)


def _no_records(config: DictConfig, folder: Path, some_unusable: bool) -> str:
    where = folder if config["from"] == "records" else f"the W&B project {config.logger.project}"
    sweep = OmegaConf.select(config, "hydra.runtime.choices.sweep")
    command = f"-m sweep={sweep}" if sweep else f"study={config.study}"
    if str(config.output_dir) != "outputs":
        command += f" output_dir={config.output_dir}"
    what = "no readable records" if some_unusable else "no records"
    return f"{what} in {where}: run `latentbench {command}` first"


TO_ANOTHER = "to=DIR writes to another folder"


def output_folder(config: DictConfig, study: StudyRecords) -> Path:
    """Where to write what a study's records give: beside them, unless `to` names a folder. Raises: UserError."""
    if config.to is None:
        return study.folder
    if type(config.to) is not str or not config.to:
        raise UserError(f"to={config.to}: give the path of a folder")
    return Path(config.to)


@contextlib.contextmanager
def writing_to(folder: Path, *, otherwise: str) -> Iterator[None]:
    """Raises: UserError if the folder cannot be written, such as somebody else's results; otherwise: what to do then"""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): {otherwise}") from error


def summarize_study(config: DictConfig, study: StudyRecords) -> tuple[Summary, dict[str, Figure]]:
    """The table and the figures that the config describes. Raises: UserError if the config's table is invalid."""
    grid = config.hydra.sweeper.params or {}
    tuned = tuned_study(config, study)
    summary = summarize(
        tuned.runs if tuned else study.records,
        rows=[*(names(config, "table.rows") or []), *(["trial"] if tuned else [])],
        columns=names(config, "table.columns"),
        order={str(key): [value.strip() for value in str(values).split(",")] for key, values in grid.items()},
        baseline=OmegaConf.select(config, "table.baseline"),
        measures=Measures(
            primary=OmegaConf.select(config, "table.primary"), secondary=names(config, "table.secondary") or []
        ),
    )
    samples = names(config, "table.samples") or []
    shown = chosen_rows(summary) if tuned else summary
    figures, missing = make_figures(shown, study.folder, samples=samples, axes=figure_axes(config))
    of_tuning = notes(tuned) if tuned else []
    if tuned and (figure := best_of_trials(tuned, describe_column(study.records, tuned.rule).heading)):
        figures["best_of_trials"] = figure
    return dataclasses.replace(summary, notes=[*study.left_out, *of_tuning, *summary.notes, *missing]), figures


def tuned_study(config: DictConfig, study: StudyRecords) -> Tuned | None:
    """What the study chose by its first rule; None if it does not tune. Raises: UserError if nothing is chosen yet."""
    tune = tune_of(config)
    if tune is None:
        return None
    tuned = read_tuned(study.records, tune, names(config, "table.rows") or [])
    if not tuned.runs:
        raise UserError(
            f"{study.folder} has trials alone, and no run of what they choose: run the study's command first, or add "
            "tune=null, which shows the trials"
        )
    return tuned


def names(config: DictConfig, key: str) -> list[str] | None:
    """A list of names in the config; a single name counts as a list of one."""
    value = OmegaConf.select(config, key)
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(name) for name in value]


def figure_axes(config: DictConfig) -> dict[str, dict[str, str]]:
    """Figure -> its x and y, for every figure that is not null. Raises: UserError if one has no x or y."""
    found = {}
    for name, axes in (OmegaConf.select(config, "table.figures") or {}).items():
        if axes is None:
            continue
        if not OmegaConf.is_dict(axes) or set(axes) != {"x", "y"}:
            raise UserError(f"table.figures.{name}={axes}: give an x and a y, such as {{x: beta, y: fid/prior}}")
        found[str(name)] = {str(axis): str(key) for axis, key in axes.items()}
    return found

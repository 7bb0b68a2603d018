"""`latentbench-tables`: a study's table and figures from its records alone; nothing is trained.

In a notebook:
    >>> records, unreadable = load_records(Path("outputs/quick"))  # doctest: +SKIP
    >>> summary = summarize(records, rows=["method"])  # doctest: +SKIP
    >>> print(to_text(summary))  # doctest: +SKIP
    >>> frame(records)  # one row per run, as a pandas DataFrame  # doctest: +SKIP
"""

import dataclasses
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentbench.configuration.catalogue import option_files, sentence
from latentbench.configuration.compose import compose_config
from latentbench.configuration.messages import explain
from latentbench.configuration.validation import check
from latentbench.errors import UserError
from latentbench.records.record import Record, write_whole
from latentbench.records.store import load_records, publish, published
from latentbench.records.wandb import load_wandb_records
from latentbench.reporting import plots as figures
from latentbench.reporting.formats import to_csv, to_latex, to_markdown, to_text
from latentbench.reporting.grouping import frame
from latentbench.reporting.study_figures import make_figures, pictured
from latentbench.reporting.summary import Summary, summarize

__all__ = [
    "frame", "load_records", "load_wandb_records", "main", "make_figures", "summarize",
    "to_csv", "to_latex", "to_markdown", "to_text",
]  # fmt: skip

HELP = """latentbench-tables: a study's table and figures, from its records alone.

Usage:
  latentbench-tables sweep=quick                    the study of sweeps/quick.yaml
  latentbench-tables study=mine output_dir=results  the records below results/mine
  latentbench-tables sweep=quick from=wandb         the records in the W&B project logger.entity/logger.project
  latentbench-tables sweep=quick publish=true       writes results/quick/<data>, records included (force=true:
                                                    in place of runs that are there and not among these)
  latentbench-tables sweep=quick 'table.rows=[method,latent_size]' 'table.columns=[fid/prior,nll/test]'

Reads  <output_dir>/<study>/*/record.json (output_dir: outputs, study: adhoc unless said otherwise), and what was
       published: <output_dir>/<study>/*/records.jsonl.
Writes <output_dir>/<study>/table.md, table.csv, table.tex, and the figures as .png and .pdf.

table.rows      choices (or keys of the config) that make a row; seeds are averaged over, nothing else is
table.columns   metrics, as <metric>/<of what>; null: all that were recorded
table.baseline  a row's value, such as vae: which rows differ from that row by more than chance is marked
table.samples   whose images stand side by side: samplers, reconstruction, interpolation
table.figures   name -> {{x: ..., y: ...}}: a metric against another or against a setting that tells rows apart

Studies:
{studies}
"""
PUBLISHED = Path("results")
# What a run does not know.
FROM_RECORDS, NOT_PUBLISHED = "+from=records", "+publish=false"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write a study's table and figures; 2 if the command or the records cannot be used."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show an arrow still shows the table
    if {"-h", "--help"} & set(arguments):
        print(HELP.format(studies=_studies()))
        return 0
    try:
        _tables(compose_config([FROM_RECORDS, NOT_PUBLISHED, *arguments]))
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"latentbench-tables: {explain(error)}", file=sys.stderr)
        return 2
    return 0


def _studies() -> str:
    paths = option_files("sweep")
    return "\n".join(f"  {path.stem:14} {sentence(path)}" for path in paths)


def _tables(config: DictConfig) -> None:
    if type(config.publish) is not bool:
        raise UserError(f"publish={config.publish}: publish must be true or false")
    folder, records, left_out = read_records(config)
    if not config.publish:
        _write(config, records, folder, folder, left_out)
        return
    if left_out and config["from"] == "records":
        raise UserError("publish=true would lose what is left out: mend it, or delete it")
    of_data: dict[Path, list[Record]] = {}
    for record in sorted(records, key=lambda record: str(record.choices["data"])):
        of_data.setdefault(PUBLISHED / config.study / record.choices["data"], []).append(record)
    for into, those in of_data.items():
        lost = published(into) - {record.run_id for record in those}
        if lost and not config.force:
            raise UserError(
                f"{into} has {len(lost)} of its runs that are not among these {len(those)}, such as {min(lost)}: "
                "force=true publishes these in their place"
            )
    for into, those in of_data.items():
        _write(config, those, folder, into, [])


def read_records(config: DictConfig) -> tuple[Path, list[Record], list[str]]:
    """The folder of the config's study, its records, and a line on each that cannot be used.

    Raises: UserError if the config has no meaning or there are no records.
    """
    check(config)
    folder = Path(config.output_dir) / config.study
    records, left_out = _records(config, folder)
    for line in left_out:
        print(f"warning: {line}", file=sys.stderr)
    if not records:
        raise UserError(_no_records(config, folder, bool(left_out)))
    return folder, records, left_out


def _records(config: DictConfig, folder: Path) -> tuple[list[Record], list[str]]:
    """The study's records from where they are wanted from, and a line on each that cannot be used."""
    if config["from"] == "records":
        return load_records(folder)
    if config["from"] != "wandb":
        raise UserError(f"from={config['from']}: choose records or wandb")
    if not config.logger.get("project"):
        raise UserError("from=wandb: name the project, as logger=wandb logger.entity=... logger.project=...")
    return load_wandb_records(config.logger.entity, config.logger.project, config.study)


def summarize_study(
    config: DictConfig, records: Sequence[Record], folder: Path, left_out: Sequence[str]
) -> tuple[Summary, dict[str, Figure]]:
    """The table of records as the config wants it, and its figures; images of runs are in the study's `folder`.

    Raises: UserError if the config's table has no meaning.
    """
    grid = config.hydra.sweeper.params or {}
    summary = summarize(
        records,
        rows=names(config, "table.rows") or [],
        columns=names(config, "table.columns"),
        order={str(key): [value.strip() for value in str(values).split(",")] for key, values in grid.items()},
        baseline=OmegaConf.select(config, "table.baseline"),
    )
    samples = names(config, "table.samples") or []
    made, missing = make_figures(summary, folder, samples=samples, plots=plots(config))
    return dataclasses.replace(summary, notes=[*left_out, *summary.notes, *missing]), made


def _write(config: DictConfig, records: list[Record], folder: Path, into: Path, left_out: list[str]) -> None:
    """Print a table of the study's records, and write it and its figures; if into another folder, the records too."""
    summary, made = summarize_study(config, records, folder, left_out)
    title = config.study if not config.publish else f"{config.study} on {into.name}"
    texts = {
        "table.md": to_markdown(summary, title=title, question=OmegaConf.select(config, "question")),
        "table.csv": to_csv(summary),
        "table.tex": to_latex(summary),
    }
    for name, text in texts.items():
        write_whole(into / name, text.encode())
    written = [into / name for name in texts]
    for name, figure in made.items():
        written += figures.save(figure, into / name)
    if config.publish:
        runs = [pictured(summary, index) for index in summary.runs]
        written.append(publish(records, [run for run in runs if run], folder, into))
    print(to_text(summary, width=shutil.get_terminal_size((120, 24)).columns))
    print("\nwritten:", *written, sep="\n  ")


def names(config: DictConfig, key: str) -> list[str] | None:
    """A list of names that may be given as one name."""
    value = OmegaConf.select(config, key)
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(name) for name in value]


def plots(config: DictConfig) -> dict[str, dict[str, str]]:
    """The axes of every figure that is wanted. Raises: UserError if one lacks its axes."""
    found = {}
    for name, axes in (OmegaConf.select(config, "table.figures") or {}).items():
        if axes is None:
            continue
        if not OmegaConf.is_dict(axes) or set(axes) != {"x", "y"}:
            raise UserError(f"table.figures.{name}={axes}: name its axes, as {{x: beta, y: fid/prior}}")
        found[str(name)] = {str(axis): str(key) for axis, key in axes.items()}
    return found


def _no_records(config: DictConfig, folder: Path, unusable: bool) -> str:
    where = folder if config["from"] == "records" else f"the W&B project {config.logger.project}"
    sweep = OmegaConf.select(config, "hydra.runtime.choices.sweep")
    command = f"-m sweep={sweep}" if sweep else f"study={config.study}"
    if str(config.output_dir) != "outputs":
        command += f" output_dir={config.output_dir}"
    what = "no records" if not unusable else "no readable records"
    return f"{what} in {where}; `latentbench {command}` makes them"

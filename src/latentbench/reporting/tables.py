"""Prints and writes the table and the figures of a study.

In a notebook:
    >>> records, unreadable = load_records(Path("outputs/quick"))  # doctest: +SKIP
    >>> summary = summarize(records, rows=["method"])  # doctest: +SKIP
    >>> print(to_text(summary))  # doctest: +SKIP
    >>> frame(records)  # one row per run, as a pandas DataFrame  # doctest: +SKIP
"""

import posixpath
import shutil
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from latentbench.errors import UserError
from latentbench.records.record import Record, write_atomically
from latentbench.records.store import PUBLISHED_NAME, load_records, publish, published_ids
from latentbench.records.tuning import tune_of
from latentbench.records.wandb_records import load_wandb_records
from latentbench.reporting import plots
from latentbench.reporting.formats import to_csv, to_latex, to_markdown, to_text
from latentbench.reporting.grouping import frame
from latentbench.reporting.ledger import (
    CSV_NAME,
    published_csv,
    published_latex,
    published_markdown,
    published_text,
    write_ledger,
)
from latentbench.reporting.published_numbers import compare, published_numbers
from latentbench.reporting.study import (
    TO_ANOTHER,
    StudyRecords,
    output_folder,
    read_records,
    summarize_study,
    tuned_study,
    writing_to,
)
from latentbench.reporting.study_figures import make_figures, shown_run
from latentbench.reporting.summarize import summarize
from latentbench.reporting.tuned import best_of_csv, choices_csv, each_rule

__all__ = [
    "frame", "load_records", "load_wandb_records", "make_figures", "summarize", "to_csv", "to_latex", "to_markdown",
    "to_text", "write_tables",
]  # fmt: skip

PUBLISHED = Path("results")
OWN_FOLDER = "start in a folder of your own"


def write_tables(config: DictConfig) -> None:
    """Print and write a study's table and figures, beside its records, to the folder `to`, or below `results`.

    Raises: UserError if the config or the records cannot be used, or the folder cannot be written.
    """
    if type(config.publish) is not bool:
        raise UserError(f"publish={config.publish}: publish must be true or false")
    study = read_records(config)
    folder = output_folder(config, study)
    if not config.publish:
        _write(config, study, folder)
        return
    if config.to is not None:
        raise UserError(f"publish=true writes to {PUBLISHED / config.study}: leave out to={config.to}")
    if study.left_out and config["from"] == "records":
        raise UserError("publish=true would lose the records that cannot be used: repair or delete them first")
    records_of_folder: dict[Path, list[Record]] = {}
    for record in sorted(study.records, key=lambda record: str(record.choices["data"])):
        records_of_folder.setdefault(PUBLISHED / config.study / record.choices["data"], []).append(record)
    for target, records in records_of_folder.items():
        lost = published_ids(target) - {record.run_id for record in records}
        if lost and not config.force:
            raise UserError(
                f"{target} has {len(lost)} runs that are not among these {len(records)}, such as {min(lost)}: "
                "force=true replaces them"
            )
    for target, records in records_of_folder.items():
        _write(config, StudyRecords(folder=study.folder, records=records, left_out=[]), target)
    for page in write_ledger(PUBLISHED):
        print(f"  {page}")


def _write(config: DictConfig, study: StudyRecords, target: Path) -> None:
    """Write the table, of a study that tunes by several rules one for each, and if it is published the records."""
    shown: list[Record] = []
    for folder, of_rule in each_rule(config):
        shown += _write_table(of_rule, study, target, folder)
    if config.publish:
        tune = tune_of(config)
        trials = [record for record in study.records if tune and tune.is_trial(record.choices["seed"])]
        others = [record for record in study.records if not (tune and tune.is_trial(record.choices["seed"]))]
        with writing_to(target, otherwise=OWN_FOLDER):
            print("", *publish(others, trials, shown, study.folder, target), sep="\n  ")


def _write_table(config: DictConfig, study: StudyRecords, target: Path, folder: str) -> list[Record]:
    """Print the table; write it and its figures to `folder` in `target`. Returns: the runs that figures show."""
    summary, figures = summarize_study(config, study)
    comparisons = compare(published_numbers(config), summary)
    title = config.study if not config.publish else f"{config.study} on {target.name}"
    question = OmegaConf.select(config, "question")
    records = posixpath.relpath(PUBLISHED_NAME, folder or ".") if config.publish else None
    texts = {
        "table.md": to_markdown(summary, title=title, question=question, records=records),
        "table.csv": to_csv(summary),
        "table.tex": to_latex(summary),
    }
    if comparisons:
        texts["table.md"] += f"\n{published_markdown(comparisons)}"
        texts["table.tex"] += f"\n{published_latex(comparisons)}"
        texts[CSV_NAME] = published_csv(comparisons)
    if tuned := tuned_study(config, study):
        texts |= {"tuning.csv": choices_csv(tuned), "best_of_trials.csv": best_of_csv(tuned)}
    written = [target / folder / name for name in texts]
    try:
        with writing_to(target, otherwise=OWN_FOLDER if config.publish else TO_ANOTHER):
            for path, text in zip(written, texts.values(), strict=True):
                write_atomically(path, text.encode())
            if not comparisons:
                (target / folder / CSV_NAME).unlink(missing_ok=True)
            for name, figure in figures.items():
                written += plots.save(figure, target / folder / name)
    finally:  # the table can be read even where nothing can be written
        width = shutil.get_terminal_size((120, 24)).columns
        print(to_text(summary, width=width))
        if comparisons:
            print(f"\n{published_text(comparisons, width=width)}")
    ended = [study.folder / run.run_id for run in summary.runs if run.status in ("failed", "refused")]
    if there := [str(run_dir) for run_dir in ended if run_dir.is_dir()]:
        print("\nfailed or refused (a run whose folder is deleted is left out):", *there, sep="\n  ")
    print("\nwritten:", *written, sep="\n  ")
    return [run for row in summary.rows if (run := shown_run(row))]

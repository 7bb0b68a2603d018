"""`latentbench-verify`: runs a published study again and says whether its numbers agree."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.cli.command import folders_and_words, run_command
from latentbench.errors import UserError

if TYPE_CHECKING:
    from latentbench.records.record import Record
    from latentbench.running.job import Job

HELP = """latentbench-verify: runs a published study again and says, row by row, whether the numbers agree.

Usage:
  latentbench-verify results/quick/digits                    every run of the study
  latentbench-verify results/quick/digits method=vae,gan     only the runs with these settings
  latentbench-verify results/quick/digits seed=0

Reads  <folder>/records.jsonl.gz. Runs into <output_dir>/<study>/, by default outputs/verify/<study>/; what has run
       there is not run again.

bit for bit               every published number is the same
within rounding           every published number is the same up to 1e-6 of its size
within its seeds' scatter the means of the measures that the study tests (table.primary, table.secondary) differ no more
                          than by chance: two-sided t tests against the scatter of the published seeds, with Holm's
                          correction over all rows and measures, at 5 %
differs                   one of these does, or a published number is missing, or a run ends otherwise

launcher, logger, output_dir, checkpoint_seconds, force, data.root   as for latentbench; logger=none by default
Any other key=value selects runs.

Exit code 0: every row agrees; 1: some differ; 2: the study cannot be run with this version.
docs/reproducibility.md says what to expect on which machine.
"""
RUNNING_KEYS = ("launcher", "logger", "output_dir", "checkpoint_seconds", "force", "data.root")
DEFAULTS = ("logger=none", "output_dir=outputs/verify")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or the records cannot be used; 130: Ctrl-C."""
    return run_command("latentbench-verify", _verify, arguments, help_text=HELP)


def _verify(arguments: list[str]) -> int:
    # Imported here, so that --help is quick.
    from tabulate import tabulate

    from latentbench.cli.launch import launch
    from latentbench.records.record import load_or_none
    from latentbench.records.store import load_published
    from latentbench.reporting.agreement import DIFFERS, agreements, machine_of
    from latentbench.reporting.grouping import group_runs
    from latentbench.reporting.summary import label_of
    from latentbench.running.job import resolve

    folders, words = folders_and_words(arguments)
    if len(folders) != 1:
        raise UserError("name one folder of a published study, such as results/quick/digits")
    published = load_published(Path(folders[0]))
    running = [word for word in words if _is_of_running(word)]
    selected = _selected(published, [word for word in words if not _is_of_running(word)])
    jobs = _jobs(selected, [*DEFAULTS, *running])

    code = launch(list(jobs.values()))
    if code not in (0, 1):
        return code
    table = {**next(iter(jobs.values())).config.table, **(published[0].config.get("table") or {})}
    grouping = group_runs(published, table["rows"])
    rows = {label_of(dict(zip(grouping.keys, values, strict=True))): runs for values, runs in grouping.runs.items()}
    again = {run_id: load_or_none(resolve(job).folder) for run_id, job in jobs.items()}
    found = agreements(rows, again, [key for key in (table["primary"], *table["secondary"]) if key])
    print(tabulate([(each.row, each.runs, each.verdict, each.detail) for each in found], ["row", "runs", "", ""]))
    print(f"\npublished: {machine_of(selected)}\nnow:       {machine_of([run for run in again.values() if run])}")
    return int(any(each.verdict == DIFFERS for each in found))


def _is_of_running(word: str) -> bool:
    key = word.partition("=")[0]
    return any(key == known or key.startswith(f"{known}.") for known in RUNNING_KEYS)


def _selected(records: "Sequence[Record]", words: Sequence[str]) -> "list[Record]":
    """The records that have one of the values of every key. Raises: UserError if there are none."""
    from latentbench.configuration.settings import settings
    from latentbench.reporting.summary import format_value

    selected = list(records)
    for word in words:
        key, _, values = word.partition("=")
        every_settings = [settings(record.choices, record.config) for record in selected]
        if not any(key in of_run for of_run in every_settings):
            raise UserError(
                f"{key}: the published runs have no such setting; one of latentbench-verify's own is "
                f"{', '.join(RUNNING_KEYS)}"
            )
        texts = [format_value(of_run.get(key)) for of_run in every_settings]
        matching = [record for record, text in zip(selected, texts, strict=True) if text in values.split(",")]
        if not matching:
            raise UserError(f"{word}: no such run; the published ones have {key}={','.join(sorted(set(texts)))}")
        selected = matching
    return selected


def _jobs(records: "Sequence[Record]", overrides: Sequence[str]) -> "dict[str, Job]":
    """Id of a published run -> the job that runs it again. Raises: UserError if this version refuses its settings."""
    from tqdm import tqdm

    from latentbench.cli.jobs import compose_jobs
    from latentbench.cli.reproduce import overrides_of
    from latentbench.configuration.settings import settings

    jobs: dict[str, Job] = {}
    words_of: dict[str, list[str]] = {}  # found once for all seeds of a setting, which takes a second
    for record in tqdm(records, desc="compose", unit="run", disable=None):
        alike = str({**settings(record.choices, record.config), **record.choices, "seed": None})
        if alike not in words_of:
            words_of[alike] = [word for word in overrides_of(record) if not word.startswith("seed=")]
        seed, study = f"seed={record.choices['seed']}", f"study={record.study}"
        (job,) = compose_jobs([*words_of[alike], seed, study, *overrides])
        jobs[record.run_id] = job._replace(is_alone=False)  # a run that was refused is a result here
    return jobs

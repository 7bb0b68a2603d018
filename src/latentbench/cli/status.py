"""`latentbench-status`: the progress of a study."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from latentbench.cli.command import run_command
from latentbench.cli.jobs import MULTIRUN_FLAGS, compose_jobs
from latentbench.configuration.identity import method_words
from latentbench.errors import UserError
from latentbench.records.measuring import cells_to_measure
from latentbench.records.record import FILE_NAME, Record, load_or_none
from latentbench.records.tuning import tune_of
from latentbench.running.job import CHECKPOINT, LOCK, ResolvedRun, resolve
from latentbench.running.locks import is_locked

HELP = """latentbench-status: the progress of a study; nothing is run.

Usage:
  latentbench-status sweep=quick                    the study of sweeps/quick.yaml
  latentbench-status sweep=quick seed=0,1,2,3,4     the same arguments as the command that runs it

finished      its results are recorded
running       locked by a process (of another machine too, if the file system has locks: docs/launchers.md)
interrupted   left a checkpoint; the command that started it resumes it
trained       not everything that the command asks for is measured; the same command measures it
damaged       its record cannot be read; the command that started it runs it again
failed        ended with an error, which is shown; the command that started it runs it again
refused       its parts do not fit together; the reason is shown
not started   neither a record nor a checkpoint
"""
STATES = ("finished", "running", "interrupted", "trained", "damaged", "failed", "refused", "not started")
UNFINISHED = ("running", "interrupted", "trained", "damaged")  # shown by name


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the progress; exit code 2 if the command is not valid."""
    return run_command("latentbench-status", _show, arguments, help_text=HELP)


def _show(arguments: Sequence[str]) -> None:
    jobs = compose_jobs(["-m", *(word for word in arguments if word not in MULTIRUN_FLAGS)])
    runs = {run.folder: run for run in map(resolve, jobs)}
    named = {word.partition("=")[0] for word in arguments} - {*MULTIRUN_FLAGS}
    if named <= {"study", "output_dir"} and not any(folder.is_dir() for folder in runs):
        raise UserError("name the runs by the arguments of the command that runs them, such as sweep=quick")
    tune = tune_of(jobs[0].config)
    if tune is None:
        print("\n".join(status_lines(list(runs.values()))))
        return
    trials = [run for run in runs.values() if tune.is_trial(run.config.seed)]
    chosen = [run for run in runs.values() if not tune.is_trial(run.config.seed)]
    print("\n".join(["trials:", *status_lines(trials), "", "what they choose, as far as it is known:"]))
    print("\n".join(status_lines(chosen)) if chosen else "nothing: no method has spent all its trials")


def status_lines(runs: Sequence[ResolvedRun]) -> list[str]:
    """The number of runs in each state, the time left, the unfinished runs, and why runs failed or were refused."""
    states = {run.folder: _state_of(run) for run in runs}
    counts = Counter(state for state, _ in states.values())
    lines = [", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) + f", of {len(runs)} runs"]
    if left := _time_left(states):
        lines.append(left)
    lines += [f"{state}: {folder.name}" for folder, (state, _) in states.items() if state in UNFINISHED]
    reasons = Counter(
        (record.status, method_words(record.choices), record.reason)
        for _, record in states.values()
        if record is not None and record.reason
    )
    lines += [
        f"{status}: {method}, {n} run{'s' * (n > 1)}: {reason}" for (status, method, reason), n in reasons.items()
    ]
    return lines


def _state_of(run: ResolvedRun) -> tuple[str, Record | None]:
    """A run's state, and its record if it has ended."""
    if is_locked(run.folder / LOCK):
        return "running", None
    record = load_or_none(run.folder)
    if record is None and (run.folder / FILE_NAME).is_file():
        return "damaged", None
    if record is None:
        return ("interrupted" if (run.folder / CHECKPOINT).is_file() else "not started"), None
    if record.status == "finished" and cells_to_measure(record, run.requested):
        return "trained", record
    return record.status, record


def _time_left(states: dict[Path, tuple[str, Record | None]]) -> str:
    """Estimate the time left from the mean time of finished runs; empty if no run has finished, or all have ended."""
    seconds = [record.seconds for _, record in states.values() if record and record.metrics]
    counts = Counter(state for state, _ in states.values())
    to_train = sum(counts[state] for state in (*UNFINISHED, "not started") if state != "trained")
    if not seconds or not to_train + counts["trained"]:
        return ""
    a_run = statistics.mean(sum(each.values()) for each in seconds)
    measuring = statistics.mean(each.get("evaluate", 0.0) for each in seconds)
    at_a_time = max(1, counts["running"])
    minutes = (a_run * to_train + measuring * counts["trained"]) / at_a_time / 60
    return f"about {minutes:.0f} min left with {at_a_time} at a time, {a_run:.0f} s a run"

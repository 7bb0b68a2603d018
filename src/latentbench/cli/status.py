"""`latentbench-status`: how far a study is."""

import io
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from latentbench.cli.jobs import MULTIRUN_FLAGS, compose_jobs
from latentbench.configuration.compose import explain
from latentbench.errors import UserError
from latentbench.records.record import FILE_NAME, Record, load
from latentbench.running import checkpoints
from latentbench.running.job import LOCK, settle
from latentbench.running.locks import is_held

HELP = """latentbench-status: how far a study is, without running anything.

Usage:
  latentbench-status sweep=quick                    the study of sweeps/quick.yaml
  latentbench-status sweep=quick seed=0,1,2,3,4     as it was started: with the same arguments

finished   there is a record of its numbers
running    a process is at it (of another machine, if the file system has locks: docs/launchers.md)
cut off    begun; the same command as before goes on with it
failed     with its reason; the same command tries again
refused    parts that do not fit together, with the reason
to do      not begun
"""
ORDER = ("finished", "running", "cut off", "failed", "refused", "to do")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print it; 2 if the command cannot be carried out."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        jobs = compose_jobs(["-m", *(word for word in arguments if word not in MULTIRUN_FLAGS)])
        folders = list(dict.fromkeys(settle(job.config, job.options)[2] for job in jobs))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"latentbench-status: {explain(error)}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    print("\n".join(status_lines(folders)))
    return 0


def status_lines(folders: Sequence[Path]) -> list[str]:
    """Counts, time left, runs that are under way, and reasons of those that came to nothing."""
    states = {folder: state_of(folder) for folder in folders}
    counts = Counter(state for state, _ in states.values())
    lines = [", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state]) + f", of {len(folders)} runs"]
    if left := time_left(states):
        lines.append(left)
    lines += [f"{state}: {folder.name}" for folder, (state, _) in states.items() if state in ("running", "cut off")]
    reasons = Counter(
        (record.status, record.choices["method"], record.reason)
        for _, record in states.values()
        if record is not None and record.status != "finished"
    )
    lines += [
        f"{status}: method={method}, {n} run{'s' * (n > 1)}: {why}" for (status, method, why), n in reasons.items()
    ]
    return lines


def state_of(folder: Path) -> tuple[str, Record | None]:
    """What a run is at, and its record if that is of its end."""
    if is_held(folder / LOCK):
        return "running", None
    try:
        record = load(folder / FILE_NAME)
    except UserError:  # there is none, or one cut short
        return ("cut off" if (folder / checkpoints.FILE_NAME).is_file() else "to do"), None
    return record.status, record


def time_left(states: dict[Path, tuple[str, Record | None]]) -> str:
    """An estimate from the runs that are finished; nothing where there is none, or nothing to do."""
    seconds = [sum(record.seconds.values()) for _, record in states.values() if record and record.status == "finished"]
    running = sum(state == "running" for state, _ in states.values())
    to_do = sum(state in ("running", "cut off", "to do") for state, _ in states.values())
    if not seconds or not to_do:
        return ""
    minutes = statistics.mean(seconds) * to_do / max(1, running) / 60
    return f"about {minutes:.0f} min left with {max(1, running)} at a time, {statistics.mean(seconds):.0f} s a run"

"""Where a study's records are: one file per run, or one file per data set of what was published.

Either lies below `<output_dir>/<study>`: `<run>/record.json`, or `<data>/records.jsonl` with a record a line. The
images of a run are in its folder, which lies in the study's or in that of its data set.
"""

import contextlib
import gc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from latentbench.errors import UserError
from latentbench.records.record import FILE_NAME, Record, Status, load, parse, write_whole

PUBLISHED_NAME = "records.jsonl"
IMAGES_NAME = "images.npz"
LARGEST = 1e100  # of numbers: the square of one must be one, too


def load_records(folder: Path) -> tuple[list[Record], list[str]]:
    """The records in `<folder>/*/record.json` and `<folder>/*/records.jsonl`, and a line on each that cannot be used.

    Folders named after their run come first: where a run was copied, they are the originals.
    """
    records: list[tuple[bool, str, Record]] = []
    unusable = []
    with _no_collection():
        for path in sorted(folder.glob(f"*/{FILE_NAME}")):
            try:
                record = usable(load(path), str(path))
            except UserError as error:
                unusable.append(left_out(error))
            else:
                records.append((path.parent.name != record.run_id, path.parent.name, record))
        for path in sorted(folder.glob(f"*/{PUBLISHED_NAME}")):
            for number, line in enumerate(path.read_bytes().splitlines(), 1):
                try:
                    record = usable(parse(line, f"{path}:{number}"), f"{path}:{number}")
                except UserError as error:
                    unusable.append(left_out(error))
                else:
                    records.append((False, record.run_id, record))
    return [record for _, _, record in sorted(records, key=lambda found: found[:2])], unusable


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles meanwhile: JSON has none, and among millions of objects it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def left_out(error: UserError) -> str:
    """A line on a record that cannot be used."""
    return f"left out: {' '.join(str(error).split())}"


def usable(record: Record, source: str) -> Record:
    """The record. Raises: UserError if a table could not tell the run's name, data, seed or a number of it."""
    if not _is_whole(record):
        raise UserError(f"{source} is not a run's record: a part of it is missing or of another kind")
    for name in (record.run_id, record.choices.get("data")):
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            raise UserError(f"{source} has {name!r} for the name of its run or data set, which is no folder's name")
    for least, numbers in ((-LARGEST, record.metrics), (0, record.standard_errors), (0, record.seconds)):
        for key, value in numbers.items():
            if type(value) not in (int, float) or not least <= value <= LARGEST:
                raise UserError(f"{source} has {key}={value!r}, which is not a finite number that can be")
    return record


def _is_whole(record: Record) -> bool:
    """Whether its parts are of their kinds."""
    parts: tuple[Any, ...] = (
        record.choices, record.config, record.environment, record.metrics, record.standard_errors, record.skipped,
        record.caveats, record.seconds,
    )  # fmt: skip
    if not all(isinstance(part, dict) for part in parts) or record.status not in get_args(Status):
        return False
    resolved, packages = record.config.get("resolved") or {}, record.environment.get("packages") or {}
    if not isinstance(resolved, dict) or not isinstance(packages, dict) or type(record.choices.get("seed")) is not int:
        return False
    facts, texts = resolved.get("metrics") or {}, [*record.skipped.values(), *record.caveats.values()]
    if not isinstance(facts, dict) or not all(isinstance(fact, dict) for fact in facts.values()):
        return False
    return all(isinstance(text, str) for text in texts)


def images_of(folder: Path, record: Record) -> Path:
    """Where the images of a run are, if it has any; `folder` is the study's."""
    published = folder / record.choices["data"] / record.run_id / IMAGES_NAME
    return published if published.is_file() else folder / record.run_id / IMAGES_NAME


def published(folder: Path) -> set[str]:
    """The ids of the runs that a folder of one data set holds; those that cannot be read stand by their numbers."""
    path = folder / PUBLISHED_NAME
    ids = set()
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], 1):
        try:
            ids.add(parse(line, str(path)).run_id)
        except UserError:
            ids.add(f"that of line {number}")
    return ids


def publish(records: Sequence[Record], pictured: Iterable[Record], folder: Path, into: Path) -> Path:
    """Write `<into>/records.jsonl`, sorted, and copy the images of the runs that are `pictured` beside it.

    Images that stand there for runs which are no longer pictured are removed. `folder` is the study's. Returns: the
    file of records.
    """
    lines = sorted(record.line() for record in records)
    write_whole(into / PUBLISHED_NAME, "".join(f"{line}\n" for line in lines).encode())
    kept = set()
    for record in pictured:
        source, target = images_of(folder, record), into / record.run_id / IMAGES_NAME
        kept.add(target)
        if source.is_file() and source.resolve() != target.resolve():
            write_whole(target, source.read_bytes())
    for path in into.glob(f"*/{IMAGES_NAME}"):
        if path not in kept:
            path.unlink()
            with contextlib.suppress(OSError):  # what else is in it is not ours
                path.parent.rmdir()
    return into / PUBLISHED_NAME

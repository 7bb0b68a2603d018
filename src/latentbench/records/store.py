"""Reading and publishing a study's records.

Below `<output_dir>/<study>` they are in `<run>/record.json`, one file per run, or in `<data>/records.jsonl.gz`, one
line per run, if they were published; trials of a study that tunes in `<data>/trials.jsonl.gz`. The images of a run are
in `<run>` or `<data>/<run>`.
"""

import contextlib
import gc
import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import orjson

from latentbench.errors import UserError
from latentbench.records.record import FILE_NAME, Record, Status, load, parse, write_atomically
from latentbench.records.run_folder import IMAGES_NAME, load_images, save_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Compressed, to a twelfth: a study may have hundreds of runs.
PUBLISHED_NAME = "records.jsonl.gz"
TRIALS_NAME = "trials.jsonl.gz"
PUBLISHED_IMAGES = 16  # of each set, two lines of a picture
MAX_NUMBER = 1e100  # larger numbers have no finite square, which standard deviations need


def load_records(folder: Path) -> tuple[list[Record], list[str]]:
    """The records in `<folder>/*/record.json` and `<folder>/*/records.jsonl.gz`, and a message for each unusable one.

    Folders named after their run come first, so that the original of a copied run folder is the one that counts.
    """
    records: list[tuple[bool, str, Record]] = []
    unusable, parts = [], dict[bytes, Any]()
    with _garbage_collection_disabled():
        for path in sorted(folder.glob(f"*/{FILE_NAME}")):
            try:
                record = shared(validate(load(path), str(path)), parts)
            except UserError as error:
                unusable.append(left_out_message(error))
            else:
                records.append((path.parent.name != record.run_id, path.parent.name, record))
        files = sorted([*folder.glob(f"*/{PUBLISHED_NAME}"), *folder.glob(f"*/{TRIALS_NAME}")])
        for found in _published_records(files):
            if isinstance(found, UserError):
                unusable.append(left_out_message(found))
            else:
                records.append((False, found.run_id, shared(found, parts)))
    return [record for _, _, record in sorted(records, key=lambda item: item[:2])], unusable


def load_published(folder: Path) -> list[Record]:
    """The published records in a folder, trials last. Raises: UserError if there are none, or one cannot be used."""
    records = []
    for found in _records_or_errors(folder):
        if isinstance(found, UserError):
            raise found
        records.append(found)
    return records


def _records_or_errors(folder: Path) -> list[Record | UserError]:
    """As `_published_records`, of one folder. Raises: UserError if there are none."""
    found = list(_published_records(_published_files(folder)))
    if not found:
        raise UserError(f"{folder} has no records in {PUBLISHED_NAME}: name a published study, as results/quick/digits")
    return found


def _published_records(paths: Iterable[Path]) -> Iterator[Record | UserError]:
    """Every record in published files, and an error for each line or rest of a file that cannot be used."""
    for path in paths:
        try:
            for source, line in _published_lines(path):
                try:
                    yield validate(parse(line, source), source)
                except UserError as error:
                    yield error
        except UserError as error:
            yield error


def _published_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every record of a published study, with where it stands."""
    try:
        with gzip.open(path) as file:
            for number, line in enumerate(file, 1):
                yield f"{path}:{number}", line
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole file of gzip ({error}): restore or delete it") from error


def _published_files(folder: Path) -> list[Path]:
    return [path for name in (PUBLISHED_NAME, TRIALS_NAME) if (path := folder / name).is_file()]


@contextlib.contextmanager
def _garbage_collection_disabled() -> Iterator[None]:
    """JSON has no reference cycles, and searching for them takes a third of the loading time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def shared(record: Record, parts: dict[bytes, Any]) -> Record:
    """The record, in which settings and texts that other records have as well are the same objects.

    They are more than half of the memory that many records take. Nothing may change them.
    parts: those of the records so far, by their JSON text
    """
    resolved = record.config.get("resolved") or {}
    for part in (record.config, resolved, record.measured, record.environment):
        for key, value in part.items():
            if isinstance(value, dict | list) and value is not resolved:
                part[key] = parts.setdefault(orjson.dumps(value), value)
    for texts in (record.choices, record.skipped, record.caveats):
        for key, value in texts.items():
            if isinstance(value, str):
                texts[key] = sys.intern(value)
    return record


def left_out_message(error: UserError) -> str:
    """The message, in one line, for a record that cannot be used."""
    return f"left out: {' '.join(str(error).split())}"


def validate(record: Record, source: str) -> Record:
    """Return the record. Raises: UserError if a field has the wrong type, or a name or number is invalid."""
    if not _has_valid_types(record):
        raise UserError(f"{source} is not a valid record: a field is missing or has the wrong type")
    for name in (record.run_id, record.choices.get("data")):
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            raise UserError(f"{source} has {name!r} as run id or data set: it must be the name of a folder")
    for minimum, numbers in ((-MAX_NUMBER, record.metrics), (0, record.standard_errors), (0, record.seconds)):
        for key, value in numbers.items():
            if type(value) not in (int, float) or not minimum <= value <= MAX_NUMBER:
                raise UserError(f"{source} has {key}={value!r}, which is not a valid number")
    return record


def _has_valid_types(record: Record) -> bool:
    parts: tuple[Any, ...] = (
        record.choices, record.config, record.environment, record.metrics, record.standard_errors, record.skipped,
        record.caveats, record.seconds, record.preset, record.measured,
    )  # fmt: skip
    if not all(isinstance(part, dict) for part in parts) or record.status not in get_args(Status):
        return False
    resolved, packages = record.config.get("resolved") or {}, record.environment.get("packages") or {}
    if not isinstance(resolved, dict) or not isinstance(packages, dict) or type(record.choices.get("seed")) is not int:
        return False
    if not all(isinstance(metric, dict) for metric in record.measured.values()):
        return False
    facts, texts = resolved.get("metrics") or {}, [*record.skipped.values(), *record.caveats.values()]
    if not isinstance(facts, dict) or not all(isinstance(fact, dict) for fact in facts.values()):
        return False
    return all(isinstance(text, str) for text in texts)


def images_of(folder: Path, record: Record) -> Path:
    """The file of a run's images, whether it exists or not.

    folder: the folder of the study"""
    published = folder / record.choices["data"] / record.run_id / IMAGES_NAME
    return published if published.is_file() else folder / record.run_id / IMAGES_NAME


def published_ids(folder: Path) -> set[str]:
    """The ids of the runs published in the folder of a data set; unreadable lines are represented by their number."""
    ids = set()
    for path in _published_files(folder):
        for number, (source, line) in enumerate(_published_lines(path), 1):
            try:
                ids.add(parse(line, source).run_id)
            except UserError:
                ids.add(f"the one in line {number}")
    return ids


def publish(
    records: Iterable[Record], trials: Iterable[Record], shown: Iterable[Record], folder: Path, target: Path
) -> list[Path]:
    """Write records and trials, sorted, and beside them the first images of the runs that figures show.

    Images of other runs are removed from `target`.

    trials: of a study that tunes; folder: the folder of the study
    Returns: the files of records.
    """
    for name, published in ((PUBLISHED_NAME, records), (TRIALS_NAME, trials)):
        if lines := sorted(f"{record.to_line()}\n" for record in published):
            compressor = zlib.compressobj(level=9, wbits=31)  # gzip without a time: the same bytes whenever
            # Line by line: as one text all lines would be in memory twice more.
            compressed = [compressor.compress(line.encode()) for line in lines]
            write_atomically(target / name, b"".join([*compressed, compressor.flush()]))
        else:
            (target / name).unlink(missing_ok=True)
    wanted = set()
    for record in shown:
        wanted.add(target / record.run_id / IMAGES_NAME)
        if images := load_images(images_of(folder, record)):
            save_images(target / record.run_id, {name: _first(name, images[name]) for name in images})
    for path in target.glob(f"*/{IMAGES_NAME}"):
        if path not in wanted:
            path.unlink()
            with contextlib.suppress(OSError):  # the user may have put other files there
                path.parent.rmdir()
    return _published_files(target)


def _first(name: str, images: "NDArray[Any]") -> "NDArray[Any]":
    """The first images of a set; all of a traversal, which is one picture, and all latents."""
    return images[:PUBLISHED_IMAGES] if images.ndim == 4 and name != "traversal" else images


def restore(folder: Path, output_dir: Path) -> Iterator[tuple[Path, bool] | UserError]:
    """Write every record of a published study, and the published images of its run, to the folder of the run.

    folder: of a study and a data set, such as results/quick/digits
    Yields: the folder of each run below `output_dir`, and whether it had no record before; others keep theirs. An error
    for what cannot be used.
    Raises: UserError if there are no records.
    """
    for found in _records_or_errors(folder):
        if isinstance(found, UserError):
            yield found
            continue
        run_dir = output_dir / found.study / found.run_id
        is_new = not (run_dir / FILE_NAME).exists()
        if is_new:
            images = folder / found.run_id / IMAGES_NAME
            if images.is_file():
                write_atomically(run_dir / IMAGES_NAME, images.read_bytes())
            found.save(run_dir)
        yield run_dir, is_new

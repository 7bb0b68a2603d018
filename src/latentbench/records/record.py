"""One JSON file per run: the only thing tables read.

Its top-level keys are public and stay: schema, run_id, study, status (finished | failed | refused), choices,
metrics (key -> number), standard_errors (key -> of the number, as far as one run can tell it), skipped (key ->
reason), caveats (key -> why to be careful with the number), reason (of a failed or refused run), config (resolved, with
`resolved`: what the run decided by itself), seconds (by phase), n_parameters, environment.
"""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import orjson

from latentbench.errors import UserError

SCHEMA = 2
FILE_NAME = "record.json"
Status = Literal["finished", "failed", "refused"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that is kept of one run."""

    run_id: str
    study: str
    status: Status
    choices: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    standard_errors: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    caveats: dict[str, str] = dataclasses.field(default_factory=dict)
    reason: str | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    n_parameters: int | None = None
    schema: int = SCHEMA

    def save(self, run_dir: Path) -> None:
        """Write `record.json`, whole or not at all; a finished record is never replaced by a lesser one.

        Raises: ValueError if a metric or an error is not a finite number (JSON has none).
        """
        if self.status != "finished" and status_of(run_dir) == "finished":
            return
        text = json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True, allow_nan=False)
        write_whole(run_dir / FILE_NAME, text.encode() + b"\n")

    def line(self) -> str:
        """The record as one line of JSON, as results/ and W&B keep it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)


def described(record: Record) -> list[str]:
    """What a run gave in words: a line per quantity, per warning and per reason for what there is nothing of."""
    lines: dict[str, list[str]] = {}
    for key, value in sorted(record.metrics.items()):
        quantity, _, of_what = key.partition("/")
        error = f" ± {record.standard_errors[key]:.2g}" if key in record.standard_errors else ""
        lines.setdefault(quantity, []).append(f"{of_what} {value:.4g}{error}")
    width = max(map(len, lines), default=0)
    shown = [f"  {name:<{width}}  {'  '.join(values)}" for name, values in lines.items()]
    keys_of: dict[str, list[str]] = {}
    for key, text in sorted(record.caveats.items()):
        keys_of.setdefault(text, []).append(key)
    minded = [f"  mind {', '.join(keys)}: {text}" for text, keys in keys_of.items()]
    absent: dict[str, dict[str, None]] = {}  # of quantities that there is nothing of at all
    for key, reason in sorted(record.skipped.items()):
        if key.partition("/")[0] not in lines:
            absent.setdefault(reason, {})[key.partition("/")[0]] = None
    skipped = [f"  skipped {', '.join(quantities)}: {reason}" for reason, quantities in absent.items()]
    there = {key.partition("/")[2] for key in record.metrics}
    sets: dict[str, dict[str, None]] = {}  # that there is nothing of at all
    for key, reason in sorted(record.skipped.items()):
        if (of_what := key.partition("/")[2]) not in there and of_what != "test":
            sets.setdefault(reason, {})[of_what] = None
    without = [f"  no images of {', '.join(names)}: {reason}" for reason, names in sets.items()]
    return shown + minded + skipped + without


def load(path: Path) -> Record:
    """Read a record. Raises: UserError naming the file if it is not a record of this schema."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from error


def parse(text: str | bytes, source: str) -> Record:
    """The record that a JSON text holds. Raises: UserError naming its source if it is not of this schema."""
    try:
        content = orjson.loads(text)  # a study may have ten thousand
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error})") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError(f"{source} is not a record")
    if content["schema"] != SCHEMA:
        raise UserError(
            f"{source} is a record of schema {content['schema']} and this version reads schema {SCHEMA}: run it again"
        )
    try:
        return Record(**content)
    except TypeError as error:
        raise UserError(f"{source} lacks or adds a key of schema {SCHEMA} ({error})") from error


def status_of(run_dir: Path) -> Status | None:
    """Status of the run kept in `run_dir`; None if there is no readable record."""
    try:
        return load(run_dir / FILE_NAME).status
    except UserError:
        return None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never a part: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

"""The record of a run: one JSON file. Tables are made from records alone.

Its top-level keys are public:

    schema, run_id, study
    status           finished | trained (not measured yet) | failed | refused
    reason           why it failed, was refused, or could not be measured
    choices          group or scalar -> option or value
    preset           what its method set when it was trained: parts, beta, and keys such as `model.beta1`
    config           composed, with `resolved`: what the run determined itself
    metrics          `quantity/set` -> number; latentbench.records.keys explains the keys
    standard_errors  `quantity/set` -> standard error within the run
    skipped          `quantity/set` -> why it has no number
    caveats          `quantity/set` -> why to be careful with the number
    measured         metric -> `uses_features`, and `sets`: set -> the number of the evaluation that measured it
    evaluations      versions, hardware and seconds of every evaluation, from number 0 on
    n_parameters     of the model
    environment      versions and hardware of the training
    seconds          by phase
"""

import contextlib
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import orjson

from latentbench.errors import UserError
from latentbench.records.keys import TEST, parse_set
from latentbench.records.schema_3 import SCHEMA_3, upgrade

SCHEMA = 4
FILE_NAME = "record.json"
WEIGHTS_NAME = "model.safetensors"
Status = Literal["finished", "trained", "failed", "refused"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a run; the docstring of this module explains the fields."""

    run_id: str
    study: str
    status: Status
    choices: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    preset: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    standard_errors: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    caveats: dict[str, str] = dataclasses.field(default_factory=dict)
    measured: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    evaluations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    reason: str | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    n_parameters: int | None = None
    schema: int = SCHEMA

    def save(self, run_dir: Path) -> None:
        """Write `record.json` atomically; a failure never replaces the record of a trained model.

        Raises: ValueError if a metric or a standard error is not finite, which JSON cannot express.
        """
        if not self.is_trained and (before := load_or_none(run_dir)) is not None and before.is_trained:
            return
        text = json.dumps(vars(self), indent=1, sort_keys=True, allow_nan=False)
        write_atomically(run_dir / FILE_NAME, text.encode() + b"\n")

    @property
    def is_trained(self) -> bool:
        """Whether the run has trained a model."""
        return self.status in ("finished", "trained")

    def to_line(self) -> str:
        """The record as one line of JSON, the form in results/ and W&B."""
        return json.dumps(vars(self), sort_keys=True, allow_nan=False)


def describe(record: Record) -> list[str]:
    """The results of a run as text: a line per quantity, per caveat and per reason why something was skipped."""
    lines: dict[str, list[str]] = {}
    for key, value in sorted(record.metrics.items()):
        quantity, _, set_name = key.partition("/")
        error = f" ± {record.standard_errors[key]:.2g}" if key in record.standard_errors else ""
        lines.setdefault(quantity, []).append(f"{set_name} {value:.4g}{error}")
    width = max(map(len, lines), default=0)
    metrics = [f"  {quantity:<{width}}  {'  '.join(values)}" for quantity, values in lines.items()]
    keys_of: dict[str, list[str]] = {}
    for key, text in sorted(record.caveats.items()):
        keys_of.setdefault(text, []).append(key)
    caveats = [f"  caveat for {', '.join(keys)}: {text}" for text, keys in keys_of.items()]
    measured_sets = {key.partition("/")[2] for key in record.metrics}
    quantities: dict[str, dict[str, None]] = {}  # reason -> quantities without any number
    sets: dict[str, dict[str, None]] = {}  # reason -> image sets without any number
    for key, reason in sorted(record.skipped.items()):
        quantity, _, set_name = key.partition("/")
        if quantity not in lines:
            quantities.setdefault(reason, {})[quantity] = None
        if set_name not in measured_sets and parse_set(set_name)[0] != TEST:
            sets.setdefault(reason, {})[set_name] = None
    skipped = [f"  skipped {', '.join(names)}: {reason}" for reason, names in quantities.items()]
    skipped += [f"  no images of {', '.join(names)}: {reason}" for reason, names in sets.items()]
    return metrics + caveats + skipped


def load(path: Path) -> Record:
    """Read a record. Raises: UserError naming the file if it is not a record of this schema."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from error


def parse(text: str | bytes, source: str) -> Record:
    """The record in a JSON text. Raises: UserError naming `source` if it is not a record of this schema."""
    try:
        content = orjson.loads(text)  # a study may have ten thousand records
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error})") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError(f"{source} is not a record")
    if content["schema"] == SCHEMA_3:
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # a key that is missing is told below
            upgrade(content)
            content["schema"] = SCHEMA
    if content["schema"] != SCHEMA:
        raise UserError(
            f"{source} has record schema {content['schema']}, this version reads schema {SCHEMA}: run it again"
        )
    try:
        return Record(**content)
    except TypeError as error:
        raise UserError(f"{source} has a missing or unknown key for schema {SCHEMA} ({error})") from error


def load_or_none(run_dir: Path) -> Record | None:
    """The record of a run folder; None if there is no readable one."""
    try:
        return load(run_dir / FILE_NAME)
    except UserError:
        return None


def is_trained(run_dir: Path) -> bool:
    """Whether a run folder holds a trained model; that of a restored record does not."""
    record = load_or_none(run_dir)
    return record is not None and record.is_trained and (run_dir / WEIGHTS_NAME).is_file()


def write_atomically(path: Path, content: bytes, *, on_disk: bool = True) -> None:
    """Write a file so that a crash leaves either the old or the new content: temporary file, fsync, rename.

    on_disk: false to leave it to the system when it reaches the disk, which takes a hundredth of the time; then only a
    crash of the whole machine can lose it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if on_disk:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

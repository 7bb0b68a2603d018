"""Records are written whole or not at all, finished ones are never lost, and invalid ones are named."""

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentbench.errors import UserError
from latentbench.records.record import FILE_NAME, SCHEMA, Record, load, load_or_none, write_atomically

FINISHED = Record(
    run_id="vae-digits-s0",
    study="adhoc",
    status="finished",
    choices={"method": "vae", "seed": 0, "sampler": ["gmm", "prior"]},
    preset={"prior": "normal", "beta": 1.0},
    config={"beta": 1.0, "resolved": {"kl": "closed form"}},
    environment={"python": "3.11", "git_commit": None},
    metrics={"fid/prior": 0.1 + 0.2, "nll/test": -1e-300},
    skipped={"rate/test": "it was not asked — für später"},
    seconds={"fit": 0.25},
    n_parameters=7,
)
FAILED = dataclasses.replace(FINISHED, status="failed", metrics={}, reason="RuntimeError: out of luck")
REFUSED = dataclasses.replace(FAILED, status="refused")
TRAINED = dataclasses.replace(FINISHED, status="trained", metrics={}, skipped={})


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    FINISHED.save(tmp_path / "new" / "folder")
    assert load(tmp_path / "new" / "folder" / FILE_NAME) == FINISHED


def test_the_file_is_plain_json_with_the_public_keys(tmp_path: Path) -> None:
    FAILED.save(tmp_path)
    content = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert set(content) == {field.name for field in dataclasses.fields(Record)}
    assert (content["schema"], content["status"], content["reason"]) == (SCHEMA, "failed", "RuntimeError: out of luck")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_not_written(value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dataclasses.replace(FINISHED, metrics={"fid/prior": value}).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (FINISHED, FAILED, FINISHED),
        (FINISHED, REFUSED, FINISHED),
        (TRAINED, FAILED, TRAINED),
        (TRAINED, FINISHED, FINISHED),
        (FINISHED, TRAINED, TRAINED),
        (FAILED, FINISHED, FINISHED),
        (REFUSED, FINISHED, FINISHED),
        (FAILED, REFUSED, REFUSED),
        (REFUSED, FAILED, FAILED),
        (FINISHED, dataclasses.replace(FINISHED, n_parameters=8), dataclasses.replace(FINISHED, n_parameters=8)),
    ],
)
def test_a_failure_never_replaces_the_record_of_a_trained_model(
    before: Record, after: Record, kept: Record, tmp_path: Path
) -> None:
    before.save(tmp_path)
    after.save(tmp_path)
    assert load(tmp_path / FILE_NAME) == kept


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(FINISHED).items() if name != key}


INVALID_RECORDS = {
    "empty": b"",
    "half": json.dumps(dataclasses.asdict(FINISHED)).encode()[:100],
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "another schema": json.dumps(dataclasses.asdict(FINISHED) | {"schema": SCHEMA + 1}).encode(),
    "no schema": json.dumps(without("schema")).encode(),
    "a key missing": json.dumps(without("status")).encode(),
    "a key too many": json.dumps(dataclasses.asdict(FINISHED) | {"more": 1}).encode(),
}


@pytest.mark.parametrize("what", INVALID_RECORDS)
def test_an_invalid_record_is_named_in_one_line_and_has_no_status(what: str, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(INVALID_RECORDS[what])
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_or_none(tmp_path) is None


def test_an_invalid_record_is_replaced_even_by_a_failed_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(INVALID_RECORDS["half"])
    FAILED.save(tmp_path)
    assert load(tmp_path / FILE_NAME) == FAILED


def test_a_folder_without_a_record_has_no_status(tmp_path: Path) -> None:
    assert load_or_none(tmp_path) is None
    assert load_or_none(tmp_path / "nowhere") is None


# Written whole or not at all


@contextlib.contextmanager
def small_files_only() -> Iterator[None]:
    """A disk that takes no file of more than 100 bytes; only around the write, for pytest may write to a file too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with small_files_only(), pytest.raises(OSError, match="too large"):
        write_atomically(path, b"new" * 100)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_whatever_goes_wrong_leaves_the_old_content_and_nothing_else(
    step: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise error

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, step, broken)
    with pytest.raises(error):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_process_that_dies_while_writing_leaves_the_old_record(step: str, tmp_path: Path) -> None:
    FINISHED.save(tmp_path)
    program = (
        "import os, signal, sys; from pathlib import Path; from latentbench.records.record import write_atomically\n"
        f"os.{step} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_atomically(Path(sys.argv[1]) / {FILE_NAME!r}, b'half')"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert load(tmp_path / FILE_NAME) == FINISHED
    assert list(tmp_path.glob("*.json")) == [tmp_path / FILE_NAME]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 3
        done.append("fsync")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replace") or replace(*names))
    write_atomically(path, b"new")
    assert done[:2] == ["fsync", "replace"]
    assert path.read_bytes() == b"new"


def test_the_file_can_be_read_by_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_writers_at_the_same_time_leave_one_whole_content_and_readers_never_see_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([65 + writer]) * 200_000 for writer in range(4)]
    write_atomically(path, contents[0])
    seen: set[bytes] = set()
    writing = threading.Event()

    def write(content: bytes) -> None:
        for _ in range(20):
            write_atomically(path, content)

    def read() -> None:
        while not writing.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    writing.set()
    reader.join()
    assert seen <= set(contents)
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]

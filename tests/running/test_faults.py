"""Two launches of a sweep, and a full disk: every run is executed once, and the same command resumes the sweep."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import metrics_of_runs, start_sweep
from latentbench.records.record import load


def test_two_launches_of_one_sweep_share_its_runs(
    tmp_path: Path, metrics_of_a_whole_sweep: dict[str, dict[str, float]]
) -> None:
    with start_sweep(tmp_path) as first, start_sweep(tmp_path) as second:
        assert [first.wait(), second.wait()] == [0, 0]
        ends = [sweep.err.splitlines()[-1] for sweep in (first, second)]
    counts: dict[str, int] = {}
    for end in ends:
        for part in end.removeprefix("runs: ").split(", "):
            number, _, what = part.partition(" ")
            counts[what] = counts.get(what, 0) + int(number)
    assert counts.pop("finished") == 6, "every run once"
    assert set(counts) <= {"locked by another process", "finished before"}
    assert metrics_of_runs(tmp_path) == metrics_of_a_whole_sweep


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system, which the sweep fills."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_sweep_that_fills_the_disk_goes_on_when_there_is_room(
    small_disk: Path, metrics_of_a_whole_sweep: dict[str, dict[str, float]]
) -> None:
    with start_sweep(small_disk) as full:
        assert full.wait() == 1
        err = full.err
    assert "No space left on device" in err
    assert re.search(r"runs: \d finished, \d failed", err), err
    assert "Traceback" not in err
    for path in small_disk.glob("adhoc/*/record.json"):
        load(path)  # whole
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    with start_sweep(small_disk) as again:
        assert again.wait() == 0, again.err
    assert metrics_of_runs(small_disk) == metrics_of_a_whole_sweep

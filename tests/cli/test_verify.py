"""`latentbench-verify` runs a published study again, once, and says whether its numbers agree."""

import dataclasses
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Finished, composing_quickly, files, latentbench, the_one_line
from latentbench.cli import verify
from latentbench.records.record import FILE_NAME, Record, load
from tiny_runs import digits_are_few, run_tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A trained run."""
    with digits_are_few():
        folder = run_tiny(
            tmp_path_factory.mktemp("runs"), "method=vae", "study=tiny", "metric=[rate]", "sampler=[prior]"
        )
    return load(folder / FILE_NAME)


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with digits_are_few():
        yield


def verified(*records: Record, words: tuple[str, ...] = ()) -> Finished:
    Path("published").mkdir(exist_ok=True)
    lines = "".join(f"{record.to_line()}\n" for record in records)
    Path("published/records.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return latentbench("published", *words, program=verify.main)


def test_a_study_is_run_again_once_and_compared(run: Record) -> None:
    with composing_quickly():
        first = verified(run)
    assert first.code == 0, first.err
    header, _, row, _, published, now = first.out.splitlines()
    assert (header.split(), row.split()) == (["row", "runs"], ["vae", "1", "bit", "for", "bit"])
    assert published.removeprefix("published: ") == now.removeprefix("now: ").strip()
    before = files(Path("outputs"))
    assert f"verify/tiny/{run.run_id}/{FILE_NAME}" in before
    other = dataclasses.replace(run, metrics=run.metrics | {"rate/test": 99.0})
    with composing_quickly():
        second = verified(other)
    assert second.code == 1
    assert "vae" in second.out
    assert "differs" in second.out
    assert files(Path("outputs")) == before, "what has run is not run again"


def test_runs_are_selected_by_their_settings(run: Record) -> None:
    more = dataclasses.replace(run, run_id="another", choices=run.choices | {"method": "gone", "seed": 7})
    selected = verify._selected([run, more], ["seed=0,1", "method=vae"])
    assert selected == [run]


def changed(run: Record, part: str, **by: Any) -> Record:
    return dataclasses.replace(run, **{part: getattr(run, part) | by})


def test_what_cannot_be_run_again_is_one_line(run: Record) -> None:
    Path("empty").mkdir()
    for finished, says in (
        (latentbench("empty", program=verify.main), "empty has no records in records.jsonl.gz"),
        (latentbench("seed=0", program=verify.main), "name one folder of a published study"),
        (verified(run, words=("seed=3",)), "seed=3: no such run; the published ones have seed=0"),
        (verified(run, words=("sead=0",)), "sead: the published runs have no such setting"),
        (verified(changed(run, "choices", method="gone")), "method=gone: there is no such option"),
        (verified(changed(run, "config", posterior={"_target_": "x", "wide": 2})), "posterior"),
    ):
        assert finished.code == 2
        assert says in the_one_line(finished)
    assert not Path("outputs").exists()


def test_help_says_what_each_verdict_means() -> None:
    told = latentbench("--help", program=verify.main).out
    for word in ("latentbench-verify results/quick/digits", "bit for bit", "within rounding", "scatter", "differs"):
        assert word in told

"""A published study is continued from its records, on a machine that has not run it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import composing_quickly, files, latentbench, the_one_line
from latentbench.cli import app, restore, tables
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, load
from latentbench.records.run_folder import IMAGES_NAME
from tiny_runs import TINY, digits_are_few

STUDY = ("study=tiny", "metric=[rate]", "sampler=[prior]", "table.samples=[prior]", *TINY)


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with digits_are_few(), composing_quickly():
        yield


def test_a_restored_study_runs_only_what_is_new_and_its_table_has_all(tmp_path: Path) -> None:
    assert latentbench("-m", "method=vae", "seed=0,1", *STUDY).code == 0
    assert latentbench(*STUDY, "publish=true", program=tables.main).code == 0
    restored = latentbench("results/tiny/digits", "output_dir=elsewhere", program=restore.main)
    assert (restored.code, restored.out) == (0, "elsewhere/tiny: 2 runs restored\n"), restored.err
    copies = files(tmp_path / "elsewhere")
    again = latentbench("-m", "method=vae,ae", "seed=0,1", *STUDY, "output_dir=elsewhere")
    assert "2 finished before, 2 finished" in again.err
    assert (
        files(tmp_path / "elsewhere").items()
        >= {name: content for name, content in copies.items() if name.endswith((FILE_NAME, IMAGES_NAME))}.items()
    )
    assert latentbench(*STUDY, "output_dir=elsewhere", "publish=true", program=tables.main).code == 0
    published = Path("results/tiny/digits")
    lines = gzip.decompress((published / "records.jsonl.gz").read_bytes()).splitlines()
    assert sorted(json.loads(line)["choices"]["method"] for line in lines) == ["ae", "ae", "vae", "vae"]
    assert len(list(published.glob(f"*/{IMAGES_NAME}"))) == 2, "those of the published run are still there"


def test_a_restored_run_is_trained_again_if_more_is_to_be_measured() -> None:
    assert latentbench("method=vae", *STUDY).code == 0
    assert latentbench(*STUDY, "publish=true", program=tables.main).code == 0
    latentbench("results/tiny/digits", "output_dir=elsewhere", program=restore.main)
    (run_dir,) = Path("elsewhere/tiny").iterdir()
    before = load(run_dir / FILE_NAME)
    assert not (run_dir / WEIGHTS_NAME).exists()
    ran = latentbench("method=vae", *STUDY, "metric=[rate,prior_mmd]", "output_dir=elsewhere", program=app.main)
    assert ran.code == 0, ran.err
    assert (run_dir / WEIGHTS_NAME).is_file()
    after = load(run_dir / FILE_NAME)
    assert after.metrics["rate/test"] == before.metrics["rate/test"]
    assert "prior_mmd/test" in after.metrics.keys() - before.metrics.keys()


def test_what_is_there_is_kept() -> None:
    assert latentbench("method=vae", *STUDY).code == 0
    assert latentbench(*STUDY, "publish=true", program=tables.main).code == 0
    before = files(Path("outputs"))
    restored = latentbench("results/tiny/digits", program=restore.main)
    assert restored.out == "outputs/tiny: 0 runs restored, 1 were there\n"
    assert files(Path("outputs")) == before


def test_a_record_that_cannot_be_used_keeps_none_of_the_others_from_being_restored() -> None:
    assert latentbench("-m", "method=vae", "seed=0,1", *STUDY).code == 0
    assert latentbench(*STUDY, "publish=true", program=tables.main).code == 0
    path = Path("results/tiny/digits/records.jsonl.gz")
    path.write_bytes(gzip.compress(b"{\n" + gzip.decompress(path.read_bytes())))
    restored = latentbench("results/nothing", "results/tiny/digits", "output_dir=elsewhere", program=restore.main)
    assert (restored.code, restored.out) == (1, "elsewhere/tiny: 2 runs restored\n"), restored.err
    lines = restored.err.splitlines()
    assert lines[0].startswith("latentbench-restore: left out: results/nothing has no records")
    assert lines[1].startswith(f"latentbench-restore: left out: {path}:1 is not valid JSON")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("output_dir=x",), "latentbench-restore: name the folder of a published study, such as results/quick/digits"),
        (("results/x", "force=true"), "latentbench-restore: force=true: there is no such key"),
        (("results/x",), "latentbench-restore: results/x has no records in records.jsonl.gz"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: tuple[str, ...], told: str) -> None:
    restored = latentbench(*arguments, program=restore.main)
    assert restored.code == 2
    assert the_one_line(restored).startswith(told)

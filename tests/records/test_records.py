"""What is published is what was recorded: every record, and the images that the figures show."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest

from example_records import a_record, broken_records, keep, noise
from latentbench.cli.tables import main
from latentbench.errors import UserError
from latentbench.records.record import Record, load, parse
from latentbench.records.run_folder import load_images
from latentbench.records.store import images_of, load_published, load_records, publish, published_ids

KIND = "a field is missing or has the wrong type"
NAMES = {"records.jsonl.gz", "table.md", "table.csv", "table.tex", "samples.png", "samples.pdf"}


def some_runs(folder: Path) -> list[Record]:
    """Two methods on two data sets with two seeds, one of them refused, in run folders."""
    records = [
        keep(folder, a_record(method, seed, data=data), real=noise(1), prior=noise(seed))
        for method in ("ae", "vae")
        for data in ("digits", "mnist")
        for seed in range(2)
    ]
    refused = a_record("gan", metrics={}, status="refused", reason="no fit")
    return [*records, keep(folder, refused)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publishing_leaves_a_folder_per_data_set_with_all_that_its_tables_need(here: Path) -> None:
    records = some_runs(here / "outputs" / "s")
    assert main(["study=s", "publish=true"]) == 0
    assert {path.name for path in (here / "results" / "s").iterdir()} == {"digits", "mnist"}
    digits = here / "results" / "s" / "digits"
    pictured = {"ae-digits-b1-e50-s0", "vae-digits-b1-e50-s0"}
    assert {path.name for path in digits.iterdir()} == NAMES | pictured
    for run_id in pictured:
        assert files(digits / run_id).keys() == {"images.npz"}
        made, published = (load_images(folder / run_id / "images.npz") for folder in (here / "outputs" / "s", digits))
        assert made.keys() == published.keys()
    lines = gzip.decompress((digits / "records.jsonl.gz").read_bytes()).splitlines()
    assert [parse(line, "") for line in lines] == sorted(
        (record for record in records if record.choices["data"] == "digits"), key=Record.to_line
    )
    assert len(lines) == 5
    assert (digits / "table.md").read_text().startswith("# s on digits\n")
    before = files(digits)
    assert main(["study=s", "output_dir=results", "publish=true"]) == 0
    assert files(digits) == before, "published records are enough"
    assert not (here / "outputs" / "s" / "table.md").exists()


def test_publishing_a_published_study_again_changes_nothing(here: Path) -> None:
    some_runs(here / "outputs" / "s")
    assert main(["study=s", "publish=true"]) == 0
    before = files(here / "results")
    assert main(["study=s", "output_dir=results", "publish=true"]) == 0
    assert files(here / "results") == before


def test_the_table_of_published_records_is_that_of_the_runs(here: Path) -> None:
    some_runs(here / "outputs" / "s")
    assert main(["study=s", "publish=true"]) == 0
    assert main(["study=s"]) == 0
    assert main(["study=s", "output_dir=results"]) == 0
    for name in ("table.md", "table.csv", "table.tex"):
        assert (here / "results" / "s" / name).read_bytes() == (here / "outputs" / "s" / name).read_bytes()


def test_publishing_again_drops_images_that_no_table_needs(tmp_path: Path) -> None:
    old, new = (keep(tmp_path, a_record(seed=seed), prior=noise(seed)) for seed in range(2))
    into = tmp_path / "results"
    publish([old], [], [old], tmp_path, into)
    publish([new], [], [new], tmp_path, into)
    assert set(files(into)) == {"records.jsonl.gz", f"{new.run_id}/images.npz"}


def test_trials_are_published_beside_the_runs_of_the_table_in_the_same_bytes_whenever(tmp_path: Path) -> None:
    run, trial, into = a_record(seed=0), a_record(seed=1000), tmp_path / "s" / "digits"
    publish([run], [trial], [], tmp_path, into)
    before = files(into)
    assert before.keys() == {"records.jsonl.gz", "trials.jsonl.gz"}
    assert load_published(into) == load_records(tmp_path / "s")[0] == [run, trial]
    assert published_ids(into) == {run.run_id, trial.run_id}
    publish([run], [trial], [], tmp_path, into)
    assert files(into) == before
    (into / "trials.jsonl.gz").write_bytes(before["trials.jsonl.gz"][:50])
    with pytest.raises(UserError, match=r"trials\.jsonl\.gz is not a whole file of gzip"):
        load_published(into)
    publish([run], [], [], tmp_path, into)
    assert files(into).keys() == {"records.jsonl.gz"}


def test_publishing_loses_no_run_without_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_runs(here / "outputs" / "s")
    assert main(["study=s", "publish=true"]) == 0
    before = files(here / "results")
    keep(here / "few" / "s", a_record("vae"), prior=noise(0), real=noise(1))
    capsys.readouterr()
    assert main(["study=s", "publish=true", "output_dir=few"]) == 2
    err = capsys.readouterr().err
    assert "results/s/digits has 4 runs that are not among these 1, such as ae-digits-b1-e50-s0: force=" in err
    assert files(here / "results") == before
    assert main(["study=s", "publish=true", "output_dir=few", "force=true"]) == 0
    assert {path.name for path in (here / "results" / "s" / "digits").iterdir()} == NAMES | {"vae-digits-b1-e50-s0"}


def test_a_damaged_record_is_not_published_away(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_runs(here / "outputs" / "s")
    assert main(["study=s", "publish=true"]) == 0
    path = here / "results" / "s" / "digits" / "records.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100] + b"\xff\n"))
    before = files(here / "results")
    capsys.readouterr()
    assert main(["study=s", "publish=true", "output_dir=results"]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert "records.jsonl.gz:5 is not valid JSON" in warning
    assert "publish=true would lose the records that cannot be used: repair or delete them first" in error
    assert files(here / "results") == before
    assert main(["study=s", "publish=true"]) == 2, "nor by others' records in its place"
    assert "such as the one in line 5: force=true" in capsys.readouterr().err


def test_images_are_found_beside_either_kind_of_record(tmp_path: Path) -> None:
    record = keep(tmp_path / "runs", a_record(), prior=noise(0))
    publish([record], [], [record], tmp_path / "runs", tmp_path / "published" / "digits")
    found = [images_of(tmp_path / kind, record) for kind in ("runs", "published")]
    first, second = (np.load(path)["prior"] for path in found)
    np.testing.assert_array_equal(first[:16], second, "the first 16 of each set are published")


def test_lines_that_cannot_be_used_are_named_and_left_out(tmp_path: Path) -> None:
    broken_records(tmp_path / "broken")
    texts = [" ".join(path.read_text().split()) for path in sorted(tmp_path.glob("broken/*/record.json"))]
    good = a_record()
    (tmp_path / "digits").mkdir()
    lines = "\n".join([good.to_line(), *texts])
    (tmp_path / "digits" / "records.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    records, unusable = load_records(tmp_path)
    assert records == [good]
    assert [line.partition("records.jsonl.gz:")[2][0] for line in unusable] == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 4', '"schema": 0', "has record schema 0, this version reads schema 4: run it again"),
        ('"schema": 4', '"scheme": 1', "is not a record"),
        ('"run_id"', '"runid"', "has a missing or unknown key for schema 4"),
        ('"data": "digits"', '"data": "../digits"', "the name of a folder"),
        ('"data": "digits"', '"data": ".."', "the name of a folder"),
        ('"data": "digits"', '"data": ""', "the name of a folder"),
        ('"run_id": "', '"run_id": "/', "the name of a folder"),
        ('"caveats": {}', '"caveats": null', KIND),
        ('"caveats": {}', '"caveats": {"fid/prior": 1}', KIND),
        ('"standard_errors": {}', '"standard_errors": null', KIND),
        (
            '"standard_errors": {}',
            '"standard_errors": {"fid/prior": -1}',
            "fid/prior=-1, which is not a valid number",
        ),
        ('"standard_errors": {}', '"standard_errors": {"fid/prior": "1"}', "fid/prior='1', which is not"),
        ('"fid/prior": 10.0', '"fid/prior": 1e308', "fid/prior=1e+308, which is not"),
        ('"fid/prior": 10.0', '"fid/prior": true', "fid/prior=True, which is not"),
        ('"packages": {', '"packages": "x", "others": {', KIND),
        ('"resolved": {', '"resolved": "x", "others": {', KIND),
        ('"status": "finished"', '"status": "done"', KIND),
    ],
)
def test_an_invalid_record_is_left_out_with_the_reason(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = a_record().to_line()
    assert old in text
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text(text.replace(old, new, 1))
    records, (line,) = load_records(tmp_path)
    assert records == []
    assert message in line
    assert "run/record.json" in line


def test_a_record_without_standard_errors_can_be_read(tmp_path: Path) -> None:
    record = a_record(standard_errors={"fid/prior": 0.5})
    assert parse(record.to_line(), "") == record
    older = record.to_line().replace('"standard_errors": {"fid/prior": 0.5}, ', "")
    assert "errors" not in older
    assert parse(older, "") == dataclasses.replace(record, standard_errors={})
    record.save(tmp_path)
    assert load(tmp_path / "record.json") == record
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)


def test_what_many_records_have_in_common_is_in_memory_once() -> None:
    folder = Path(__file__).parents[2] / "results" / "gan"
    (*others, first), _ = load_records(folder)
    assert {record.run_id: record for record in load_published(folder / "digits")} == {
        record.run_id: record for record in [first, *others]
    }
    for record in others:
        assert record.config["metric"] is first.config["metric"]
        assert record.config["resolved"]["metrics"] is first.config["resolved"]["metrics"]
        same = record.measured["fid"] == first.measured["fid"]  # some have samples of fewer samplers
        assert same == (record.measured["fid"] is first.measured["fid"])
        assert record.metrics is not first.metrics
    assert sum(record.measured["fid"] is first.measured["fid"] for record in others) > len(others) / 2

"""Published numbers are those of their records: every table under results/ and the one in the README."""

import dataclasses
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from latentbench.cli.tables import main
from latentbench.configuration import catalogue, compose
from latentbench.configuration.compose import compose_config
from latentbench.records.store import load_published, load_records
from latentbench.reporting import plots
from latentbench.reporting.columns import Measures
from latentbench.reporting.formats import to_markdown
from latentbench.reporting.summarize import summarize

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "README.md"
PUBLISHED = sorted(path.parent for path in (ROOT / "results").glob("*/*/records.jsonl.gz"))
README_COLUMNS = [
    "fid/prior", "fid/gmm", "fid/reconstruction", "coverage/prior", "sharpness_ratio/prior", "nll/test", "rate/test"
]  # fmt: skip


def of_study(folder: Path) -> str:
    """`<study>/<data>` of a published folder."""
    return str(folder.relative_to(ROOT / "results"))


@pytest.fixture
def other_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method of today is another than when the published runs were made."""
    conf = tmp_path / "conf"
    shutil.copytree(catalogue.CONF_DIR, conf)
    for path in (conf / "method").glob("*.yaml"):
        parts = ("posterior: dirac", "prior: uniform", "regularizer: mmd", "annealing: warmup")
        overrides = "\n".join(f"  - override /{part}" for part in parts)
        path.write_text(f"# @package _global_\ndefaults:\n{overrides}\nbeta: 77.0\n")
    for module in (catalogue, compose):
        monkeypatch.setattr(module, "CONF_DIR", conf)


@pytest.mark.usefixtures("other_methods")
@pytest.mark.parametrize("study", sorted({path.parent.name for path in PUBLISHED}))
def test_a_published_study_is_made_from_its_records(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if study != "gan":  # figures take longer than all else, and their bytes are not compared
        monkeypatch.setattr(plots, "sample_grid", lambda *_, **__: Figure())
        monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b""))
    assert main([f"sweep={study}", f"output_dir={ROOT / 'results'}", "publish=true"]) == 0
    folders = [path for path in PUBLISHED if path.parent.name == study]
    assert {path.name for path in (tmp_path / "results" / study).iterdir()} == {path.name for path in folders}
    for published in folders:
        made = tmp_path / "results" / of_study(published)
        assert contents(made) == contents(published)
        assert figures(made) == figures(published)


def contents(folder: Path) -> dict[str, Any]:
    """What of a published folder is the same on every machine: records, in the form of today, tables and images."""
    paths = [path for path in folder.rglob("*") if path.suffix in (".md", ".csv", ".tex", ".npz")]
    records = {"records": load_published(folder)}
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths} | records


def figures(folder: Path) -> set[str]:
    """The figures by name: their bytes are the fonts' and matplotlib's."""
    return {path.name for path in folder.iterdir() if path.suffix in (".png", ".pdf")}


def test_every_study_that_is_published_is_found() -> None:
    studies = {path.name for path in (ROOT / "results").iterdir() if path.is_dir()}
    without_runs = {"reproduce_parzen"}  # of benchmarks/parzen.py
    assert studies - without_runs == {folder.parent.name for folder in PUBLISHED}
    assert {"quick/digits", "regularizers/digits"} <= set(map(of_study, PUBLISHED))


def test_the_readme_shows_the_published_table() -> None:
    records, unreadable = load_records(ROOT / "results" / "quick")
    assert len(records) == 90
    assert not unreadable
    table = compose_config(["sweep=quick"]).table
    order = {"method": list(dict.fromkeys(line.split("|")[1].strip() for line in readme_table()[2:]))}
    measures = Measures(primary=table.primary, secondary=table.secondary)
    whole = summarize(
        records, rows=["method"], columns=table.columns, order=order, baseline=table.baseline, measures=measures
    )
    part = [column for key in README_COLUMNS for column in whole.columns if column.key == key]
    made = to_markdown(dataclasses.replace(whole, columns=part), title="quick").partition("## Differences")[0]
    assert readme_table() == [line for line in made.splitlines() if line.startswith("|")]


def test_the_effect_of_seeds_is_that_of_the_published_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = page.partition("<!-- published -->")[2].partition("<!-- end of published -->")[0]
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    assert told == runpy.run_path(str(ROOT / "benchmarks" / "significance.py"))["published"]()


def readme_table() -> list[str]:
    """The lines between the two marks in README.md."""
    _, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- table: results/quick/digits -->\n")
    return rest.partition("<!-- end of table -->")[0].strip().splitlines()


SECTIONS = RESULTS.read_text(encoding="utf-8").split("\n## ")[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.split(":")[0])
def test_an_answer_is_short_and_says_what_would_overturn_it(section: str) -> None:
    _, _, answer = section.partition("\n\n**")
    words = re.findall(r"\S*[^\W\d]\S*", answer)
    assert 0 < len(words) <= 120
    assert "\n*What would overturn it:* " in answer


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.split(":")[0])
def test_numbers_that_are_quoted_are_in_the_table(section: str) -> None:
    study = re.split(r"\W", section)[0]  # also of "beta on Fashion-MNIST"
    linked = re.findall(rf"\]\(((?:{study}/[a-z_]+/table|ledger)\.md)\)", section)
    cells: set[str] = set()
    for link in linked:
        for line in (RESULTS.parent / link).read_text(encoding="utf-8").splitlines():
            cells |= {cell.strip(" *\N{DAGGER}") for cell in line.split("|")}
    quoted = [" ".join(number.split()) for number in re.findall(r"-?[\d.]+\s±\s[\d.]*\d", section)]
    assert quoted
    assert set(quoted) - cells == set()

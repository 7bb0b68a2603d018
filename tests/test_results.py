"""Published numbers are those of their records: every table under results/ and the one in the README."""

import shutil
from pathlib import Path

import pytest

from latentbench.summary import summarize
from latentbench.tables import load_records, main, to_markdown

ROOT = Path(__file__).parents[1]
STUDIES = sorted(path.parent for path in (ROOT / "results").glob("*/table.md"))
README_COLUMNS = [
    "fid/prior", "fid/gmm", "fid/reconstruction", "coverage/prior", "sharpness_ratio/prior", "nll/test", "rate/test"
]  # fmt: skip


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_a_published_table_is_made_from_its_records(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / study.name)
    for table in (tmp_path / study.name).glob("table.*"):
        table.unlink()
    assert main([f"sweep={study.name}", f"output_dir={tmp_path}"]) == 0
    for name in ("table.md", "table.csv", "table.tex"):
        assert (tmp_path / study.name / name).read_text() == (study / name).read_text()


def test_the_readme_shows_the_published_table() -> None:
    records, unreadable = load_records(ROOT / "results" / "quick")
    assert len(records) == 27
    assert not unreadable
    order = {"method": list(dict.fromkeys(line.split("|")[1].strip() for line in readme_table()[2:]))}
    made = to_markdown(summarize(records, rows=["method"], columns=README_COLUMNS, order=order), title="quick")
    assert readme_table() == [line for line in made.splitlines() if line.startswith("|")]


def readme_table() -> list[str]:
    """The lines between the two marks in README.md."""
    _, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- table: results/quick -->\n")
    return rest.partition("<!-- end of table -->")[0].strip().splitlines()

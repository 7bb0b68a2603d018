"""The static site is whole: every link leads somewhere, every method has a card, every published study a page."""

import csv
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from browser import MISSING, Browser
from latentbench.configuration.catalogue import own_options
from latentbench.reporting.formats import escape_markdown
from latentbench.reporting.published_study import anchor, published_studies
from latentbench.reporting.site import CONFIG, HTML, PAGES, write_site

ROOT = Path(__file__).parents[2]
MKDOCS = ROOT / ".venv" / "site" / "bin" / "mkdocs"
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")

pytestmark = pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="these tests need a checkout")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's pages, with a report of one study."""
    folder = tmp_path_factory.mktemp("site")
    report = folder / PAGES / "results" / "quick" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<title>a report</title>")
    write_site(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, str]:
    """Path of every page -> its text."""
    paths = (folder / PAGES).rglob("*.md")
    return {path.relative_to(folder / PAGES).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def anchors(text: str) -> set[str]:
    return {anchor(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}


def test_every_link_leads_to_a_file_and_a_heading(folder: Path, pages: dict[str, str]) -> None:
    links = [(page, link) for page, text in pages.items() for link in LINK.findall(re.sub(r"`[^`]*`", "", text))]
    broken = []
    for page, link in links:
        path, _, heading = link.partition("#")
        target = (folder / PAGES / page).parent / path if path else folder / PAGES / page
        name = target.resolve().relative_to((folder / PAGES).resolve()).as_posix()
        if not target.is_file() or (heading and heading not in anchors(pages[name])):
            broken.append((page, link))
    assert broken == []
    assert len(links) > 500


def test_every_page_is_in_the_menu(folder: Path, pages: dict[str, str]) -> None:
    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [leaf for part in (node.values() if isinstance(node, dict) else node) for leaf in leaves(part)]

    menu = leaves(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["nav"])
    assert sorted(menu) == sorted(pages)


def test_every_method_has_a_card_with_its_loss_and_its_ranges(pages: dict[str, str]) -> None:
    for method in own_options("method"):
        card = pages[f"methods/{method}.md"]
        told = yaml.safe_load((ROOT / "conf" / "method" / f"{method}.yaml").read_text(encoding="utf-8"))
        assert told["published"]["loss"] in card
        assert escape_markdown(told["published"]["source"]) in card
        assert all(f"{key}: " in card or f"{key}:\n" in card for key in told.get("search", ())), method
        assert f"[{method}]({method}.md)" in pages["methods/README.md"]


def test_a_card_tells_where_its_method_stands(pages: dict[str, str]) -> None:
    with (ROOT / "results" / "regularizers" / "digits" / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    for method in own_options("method"):
        line = next(x for x in pages[f"methods/{method}.md"].splitlines() if x.startswith("| [regularizers on digits]"))
        *_, rank, n_rows, fid, _ = (cell.strip() for cell in line.split("|"))
        assert (float(rank), int(n_rows)) == (pytest.approx(float(rows[method]["rank"]), abs=0.0501), 38)
        mean, interval = map(float, fid.split(" ± "))
        assert mean == pytest.approx(float(rows[method]["fid/prior.mean"]), abs=0.501)
        assert interval == pytest.approx(float(rows[method]["fid/prior.ci95"]), abs=0.501)


def test_a_row_that_did_not_finish_says_so(pages: dict[str, str]) -> None:
    assert "| prior=hypersphere |  | 15 | refused |" in pages["methods/vae.md"]


def test_every_published_study_has_a_page_with_its_figures_table_and_files(folder: Path, pages: dict[str, str]) -> None:
    studies = published_studies(ROOT / "results")
    assert {study.name for study in studies} == {path.name for path in (ROOT / "results").iterdir() if path.is_dir()}
    for study in studies:
        name = study.folder.relative_to(ROOT).as_posix()
        page = pages[f"{name}/table.md"]
        published = (study.folder / "table.md").read_text(encoding="utf-8").splitlines()
        assert [line for line in published if line.startswith("|")] == [
            line for line in page.splitlines() if line.startswith("|")
        ]
        files = [path.name for path in study.folder.iterdir() if path.is_file() and path.name != "table.md"]
        assert [file for file in files if f"]({file})" not in page] == []
    assert "](../report.html)" in pages["results/quick/digits/table.md"]
    assert "report.html" not in pages["results/beta/digits/table.md"]


def test_the_pictures_of_a_card_are_those_of_its_method(folder: Path, pages: dict[str, str]) -> None:
    for method in own_options("method"):
        assert f"Run `{method}-digits-" in pages[f"methods/{method}.md"]
        assert (folder / PAGES / "methods" / f"{method}-digits-prior.png").is_file()
    assert re.search(r"Run `vae-folder-d4-b1-s0-\w+` of .*, 4 latents, the preset\.", pages["methods/vae.md"])


def test_the_list_of_methods_has_the_floor_first(pages: dict[str, str]) -> None:
    rows = [line for line in pages["methods/README.md"].splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| real images | the floor")
    assert "| 4.04 |" in rows[1]


@pytest.mark.skipif(not MKDOCS.is_file() or bool(MISSING), reason=f"needs `make site`, and of Chromium: {MISSING}")
def test_nothing_is_loaded_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    few = ("README.md", "site.css", "iframe-worker.js", "methods/vae.md", "results/quick/digits/samples.png")
    for name in few:
        (tmp_path / PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / PAGES / name, tmp_path / PAGES / name)
    settings = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    (tmp_path / CONFIG).write_text(yaml.safe_dump(settings | {"nav": ["README.md", "methods/vae.md"]}))
    subprocess.run([MKDOCS, "build", "--quiet", "-f", tmp_path / CONFIG], check=True, capture_output=True)
    with Browser() as browser:
        browser.command("Network.enable")
        browser.command(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        for page in ("index.html", "methods/vae.html"):
            browser.open((tmp_path / HTML / page).as_uri())
            requested = browser.requested()
            assert requested
            assert [url for url in requested if not url.startswith(("file:", "data:", "blob:"))] == []
        browser.press("input.md-search__input", "autoencoder")
        deadline = time.monotonic() + 30
        while not browser.run("return document.querySelectorAll('.md-search-result__link').length"):
            assert time.monotonic() < deadline, "the search finds nothing"
            time.sleep(0.1)

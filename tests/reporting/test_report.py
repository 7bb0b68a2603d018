"""A study's page shows what its records hold, is accessible, and loads nothing from the network."""

import base64
import dataclasses
import io
import itertools
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import ENTER, MISSING, SPACE, Browser
from example_records import a_record
from latentbench.cli.report import main
from latentbench.reporting.columns import Measures
from latentbench.reporting.findings import find
from latentbench.reporting.formats import to_markdown
from latentbench.reporting.page import to_html
from latentbench.reporting.study_figures import make_figures
from latentbench.reporting.summarize import summarize
from latentbench.reporting.summary import Summary
from latentbench.reporting.tables import load_records

HOSTILE = "<script>alert(1)</script>\"'&amp;"
ROOT = Path(__file__).parents[2]
FEW = ("metric=[fid]", "sampler=[prior]")  # of which the command reads the files and shows nothing


class Page(HTMLParser):
    """What a page holds: its elements, the text of its table cells and all of its text."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def some_images(names: list[str], *, channels: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.integers(0, 256, (64, channels, 8, 8), dtype=np.uint8) for name in names}


def keep(folder: Path, record: Any, images: dict[str, np.ndarray] | None = None) -> None:
    """A run's folder, as a run leaves it."""
    record.save(folder / record.run_id)
    if images:
        np.savez_compressed(folder / record.run_id / "images.npz", **images)  # type: ignore[arg-type]


def a_study(folder: Path) -> Path:
    """Runs of every status, with and without images; only those of `vae` and `ae` finished."""
    everything = ["real", "original", "reconstruction", "interpolation", "prior", "gmm"]
    for seed in range(3):
        fields = {"standard_errors": {"fid/prior": 0.25}, "caveats": {"rate/test": "few images"}}
        metrics = {"fid/prior": 20.0 + seed, "fid/real": 4.0, "rate/test": 3.0, "sharpness_ratio/prior": 0.5 + seed / 9}
        keep(folder, a_record("vae", seed, metrics, **fields), some_images(everything) if seed == 0 else None)
        metrics = {"fid/prior": 100.0 + 1.25 * seed, "fid/real": 4.0, "sharpness_ratio/prior": 0.7 + seed / 9}
        keep(folder, a_record("ae", seed, metrics, skipped={"rate/test": "no density"}))
    keep(folder, a_record("gan", 0, {}, status="failed", reason="the loss is nan after epoch 3"))
    keep(folder, a_record("iwae", 0, {}, status="refused", reason="beta must be 1"))
    return folder


def html_of(folder: Path, **given: Any) -> tuple[str, Summary]:
    summary = summarize(
        load_records(folder)[0], rows=["method"], baseline="vae", measures=Measures(primary="fid/prior")
    )
    axes = {"fid_against_sharpness": {"x": "sharpness_ratio/prior", "y": "fid/prior"}}
    made, _ = make_figures(summary, folder, samples=["prior", "gmm", "reconstruction"], axes=axes)
    return to_html(summary, made, folder, axes=axes, **({"title": "s"} | given)), summary


def page_of(folder: Path, **given: Any) -> tuple[Page, Summary]:
    html, summary = html_of(folder, **given)
    return Page(html), summary


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_study(tmp_path_factory.mktemp("outputs") / "s")


@pytest.fixture(scope="module")
def page(study: Path) -> Page:
    return page_of(study, question="Is a prior of use? And for what?")[0]


def cells_of(page: Page, row: str) -> list[str]:
    """The first table's line on a row."""
    return next([" ".join(cell.split()) for cell in line] for line in page.rows if line[0].strip() == row)


def test_the_numbers_are_those_of_the_table(study: Path, page: Page) -> None:
    _, summary = html_of(study)
    markdown = to_markdown(summary, title="s").partition("## Differences")[0].replace("**", "")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if line[:1] == "|"]
    expected = {line[0]: set(line[1:]) - {""} for line in lines[2:]}
    shown: dict[str, set[str]] = {}
    for row in page.rows:
        texts = {" ".join(re.sub(r" best|\s*[+\N{MINUS SIGN}].*", "", cell).split()) for cell in row[1:]}
        shown.setdefault(row[0].strip(), set()).update(texts - {""})
    assert {name: texts <= shown[name] for name, texts in expected.items()} == dict.fromkeys(expected, True)


def test_every_cell_sorts_by_its_unrounded_number(study: Path) -> None:
    page, summary = page_of(study)
    values = {attributes["data-value"] for attributes in page.all("td") if "data-value" in attributes}
    numbers = summary.table.filter(regex=r"\.mean$|^rank$").to_numpy().ravel()
    seeds = [row.seeds for row in summary.rows]
    assert values - {""} == {repr(float(number)) for number in [*numbers, *seeds] if not np.isnan(number)}


def test_the_first_table_shows_differences_and_which_are_clear(study: Path) -> None:
    page, summary = page_of(study)
    (found,) = find(summary)
    assert list(found.differences.values()) == [pytest.approx(80.25)]
    assert cells_of(page, "ae")[2] == "101 ± 3† +80 ± 4 worse"
    assert cells_of(page, "vae")[2] == "21 ± 2 best"


def test_the_answer_is_short_and_says_what_is_not_known(page: Page) -> None:
    for sentence in (
        "One row is clearly the best in 1 of 1 main measure: vae in fid/prior.",
        "No row is significantly better than vae in the main measure.",
        "8 runs (1 failed, 6 finished, 1 refused), 4 rows, 3 seeds.",
        "vae 21 ± 2 (3 seeds) , the baseline itself.",
        "Every other row is ruled out as the best.",
    ):
        assert sentence.replace(" ", "") in page.text.replace(" ", ""), sentence


def test_the_question_is_the_title(page: Page, study: Path) -> None:
    assert "Is a prior of use? And for what?" in page.text
    assert [tag for tag, _ in page.elements].count("h1") == 1
    assert "latentbench study s s Answer" in page_of(study)[0].text  # no question: the study's name


def test_runs_that_did_not_finish_are_shown_with_their_reasons(page: Page) -> None:
    assert "Seed 0 failed gan-digits-b1-e50-s0 the loss is nan after epoch 3" in page.text
    assert "Seed 0 refused iwae-digits-b1-e50-s0 beta must be 1" in page.text
    assert "skipped: rate/test of ae: no density" in page.text
    assert "caveat: rate/test of vae: few images" in page.text
    assert "Caveats (1) rate/test: few images" in page.text
    assert "Skipped (1) rate/test: no density" in page.text


def test_a_setting_that_is_a_number_or_null_sorts_by_the_number(tmp_path: Path) -> None:
    keep(tmp_path, a_record("vae", metrics={"fid/prior": 1.0, "fid/real": 0.5}, beta=4.0))
    gan = a_record("gan", metrics={"fid/prior": 2.0, "fid/real": 0.5})
    keep(tmp_path, dataclasses.replace(gan, choices=gan.choices | {"beta": None}, config=gan.config | {"beta": None}))
    summary = summarize(load_records(tmp_path)[0], rows=["beta"])
    page = Page(to_html(summary, {}, tmp_path, title="s", axes={}))
    heads = [head for head in page.all("th") if head["scope"] == "row" and "data-value" in head]
    assert [(head["data-text"], head["data-value"]) for head in heads][:3] == [
        ("real images (floor)", ""), ("4", "4.0"), ("none", "")
    ]  # fmt: skip


def test_a_run_has_its_measures_with_standard_errors_and_its_settings(page: Page) -> None:
    assert ["fid", "20.00 ± 0.25", "4", ""] in page.rows
    assert "Measures (4), with standard errors within the run" in page.text
    for setting in ("trainer.max_epochs 50", "posterior gaussian", "packages.latentbench 0.1.0", "git_commit c0ffee"):
        assert setting in page.text
    assert "output_dir" not in page.text


def test_rows_and_runs_are_linked_both_ways(page: Page) -> None:
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert len(identities) == len(set(identities))
    assert {link for link in links if not link.startswith("#")} == set()
    assert {link[1:] for link in links} - set(identities) == set()
    rows = {link.partition("-")[2] for link in links if link.startswith("#row-")}
    assert rows == {link.partition("-")[2] for link in links if link.startswith("#numbers-")}
    assert len(rows) == 4


def test_the_images_of_a_run_are_what_it_drew(study: Path, page: Page) -> None:
    alts = [attributes["alt"] for attributes in page.all("img")]
    assert alts == [
        "vae, seed 0: samples: decoded latents, drawn by prior",
        "vae, seed 0: samples: decoded latents, drawn by gmm",
        "vae, seed 0: originals, each above its reconstruction",
        "vae, seed 0: two reconstructions and, between them, the image decoded half-way between their latents",
    ]
    saved = some_images(["real", "original", "reconstruction", "interpolation", "prior", "gmm"])
    prior, _, pairs, between = (decoded(attributes) for attributes in page.all("img"))
    assert tile(prior, 0, 0) == tile_of(saved["prior"][0])
    assert tile(prior, 3, 7) == tile_of(saved["prior"][31])
    assert [tile(pairs, line, 1) for line in (0, 1)] == [
        tile_of(saved[key][1]) for key in ("original", "reconstruction")
    ]
    assert tile(pairs, 2, 0) == tile_of(saved["original"][8])
    assert [tile(between, line, 0) for line in range(3)] == [
        tile_of(saved[key][i]) for key, i in (("reconstruction", 0), ("interpolation", 1), ("reconstruction", 1))
    ]


def decoded(attributes: dict[str, str | None]) -> np.ndarray:
    content = base64.b64decode(str(attributes["src"]).removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))


def tile(picture: np.ndarray, line: int, column: int) -> list[Any]:
    """An 8x8 image of a picture, without what says that it is opaque."""
    return picture[9 * line : 9 * line + 8, 9 * column : 9 * column + 8, :-1].tolist()


def tile_of(image: np.ndarray) -> list[Any]:
    return image.transpose(1, 2, 0).tolist()


@pytest.mark.parametrize("names", [["prior"], ["original"], ["reconstruction"], ["interpolation", "prior"], ["real"]])
def test_a_run_shows_the_images_that_it_has(names: list[str], tmp_path: Path) -> None:
    keep(tmp_path, a_record(), some_images(names, channels=3))
    assert len(page_of(tmp_path)[0].all("img")) == ("prior" in names)


def test_missing_or_damaged_images_are_reported(tmp_path: Path) -> None:
    keep(tmp_path, a_record(seed=0))
    keep(tmp_path, a_record(seed=1), some_images(["prior"]))
    (path,) = tmp_path.glob("*/images.npz")
    path.write_bytes(path.read_bytes()[:200])
    page, _ = page_of(tmp_path)
    assert page.all("img") == []
    assert page.text.count("No images of this run.") == 2
    assert not zipfile.is_zipfile(path)


def test_everything_that_comes_from_a_record_is_escaped(tmp_path: Path) -> None:
    notes = {"caveats": {f"fid/{HOSTILE}": HOSTILE}, "skipped": {f"nll/{HOSTILE}": HOSTILE}}
    environment = {"environment": {HOSTILE: HOSTILE, "packages": {HOSTILE: HOSTILE}}}
    metrics = {"fid/prior": 1.0, f"fid/{HOSTILE}": 1.0, "sharpness_ratio/prior": 1.0}
    units = {"resolved": {"metrics": {"fid": {"units": HOSTILE, "higher_is_better": False}}}}
    for method in (HOSTILE, "vae"):
        record = a_record(method, 0, metrics, config=units, run_id=f"r-{method == HOSTILE}", **notes, **environment)
        keep(tmp_path, record, some_images(["real", HOSTILE, "prior"]))
    failed = a_record(HOSTILE, 1, {}, status="failed", reason=HOSTILE, run_id="r2")
    keep(tmp_path, failed)
    page, _ = page_of(tmp_path, title=HOSTILE, question=HOSTILE)
    assert len(page.all("script")) == 1
    assert page.text.count("<script>alert(1)</script>\"'&amp;") > 20


def test_headings_are_in_order_and_everything_has_a_name(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.all("html") == [{"lang": "en"}]
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attributes["scope"] in ("col", "row") for attributes in page.all("th"))
    scrolled = [attributes for attributes in page.all("div") if attributes.get("class") == "box"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolled)


def test_the_page_refers_to_nothing_outside_itself(study: Path) -> None:
    html, _ = html_of(study)
    assert set(re.findall(r"https?://[^\s\"'<>]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "url(" not in re.sub(r"url\(#\w+\)", "", html)
    assert "default-src 'none'" in html


def test_the_command_writes_the_same_page_every_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_study(tmp_path / "quick")
    path = tmp_path / "quick" / "report.html"
    contents = set()
    for _ in range(2):
        assert main(["sweep=quick", f"output_dir={tmp_path}", *FEW]) == 0
        contents.add(path.read_bytes())
    assert f"written: {path}" in capsys.readouterr().out
    assert len(contents) == 1
    assert "Why regularize the latent space with a normal distribution?" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep=quick"], "no records in "),
        (["study=mine"], "/mine: run `latentbench study=mine output_dir="),
        (["study=s", "table.rows=[colour]"], "no record has 'colour'"),
        (["colour=red"], "colour"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "s", a_record())
    assert main([f"output_dir={tmp_path}", *FEW, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(tmp_path.rglob("*.html"))


def test_a_baseline_can_be_named(tmp_path: Path) -> None:
    a_study(tmp_path / "s")
    assert main(["study=s", f"output_dir={tmp_path}", *FEW, "table.columns=null", "table.baseline=ae"]) == 0
    assert "Significantly better than ae in fid/prior: vae." in Page((tmp_path / "s" / "report.html").read_text()).text


def test_help_says_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "report.html" in capsys.readouterr().out


def test_the_page_needs_no_torch() -> None:
    code = (
        "import sys, latentbench.reporting.page, latentbench.cli.report as r; r.main(['sweep=nope']);"
        "print({'torch', 'pytorch_lightning', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def address(study: Path) -> str:
    shown = ["table.columns=null", "table.baseline=vae", "question=Is a prior of use?"]
    assert main(["study=s", f"output_dir={study.parent}", *FEW, *shown]) == 0
    return (study / "report.html").as_uri()


@pytest.fixture(params=["light", "dark"])
def browser(request: pytest.FixtureRequest, address: str) -> Iterator[Browser]:
    with Browser(colours=request.param) as opened:
        opened.open(address)
        yield opened


FIRST_COLUMN = "return [...document.querySelectorAll('.sortable')[0].tBodies[0].rows].map(r => r.cells[0].innerText)"
SORTED_BY = "return [...document.querySelectorAll('.sortable')[0].tHead.rows[0].cells].map(h => h.ariaSort)"
# Ratio of contrast (WCAG 2) of every text with what is behind it, by the classes of its element.
CONTRASTS = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  const colour = getComputedStyle(element).backgroundColor;
  return colour === "rgba(0, 0, 0, 0)" && element.parentElement ? behind(element.parentElement) : colour;
};
const texts = [...document.querySelectorAll("body *:not(script):not(style)")]
  .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
return texts.map((element) => {
  const style = getComputedStyle(element);
  const colours = [element instanceof SVGElement ? style.fill : style.color, behind(element)].map(luminance);
  return [(Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05), element.outerHTML.slice(0, 80)];
});
"""


@needs_browser
def test_the_page_loads_without_the_network_and_without_complaint(browser: Browser, address: str) -> None:
    assert [url for url in browser.requested() if not url.startswith("data:")] == [address]
    assert browser.messages() == []
    assert browser.run("return [...document.images].every(i => i.naturalWidth > 0 || i.loading === 'lazy')")


@needs_browser
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser) -> None:
    browser.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert [found for found in browser.run(CONTRASTS) if found[0] < 4.5] == []


@needs_browser
@pytest.mark.parametrize("key", [None, ENTER, SPACE])
def test_a_table_is_sorted_by_click_and_by_key(address: str, key: str | None) -> None:
    floor, button = "real images (floor)", ".sortable thead th:nth-child(3) button"  # fid/prior, lower is better
    with Browser() as browser:
        browser.open(address)
        seen = []
        for _ in range(3):
            if key is None:
                browser.click(button)
            else:
                browser.press(button, key)
            seen.append((browser.run(SORTED_BY)[2], browser.run(FIRST_COLUMN)))
        assert seen == [
            ("ascending", [floor, "vae", "ae", "gan", "iwae"]),
            ("descending", [floor, "ae", "vae", "gan", "iwae"]),
            ("none", [floor, "ae", "gan", "iwae", "vae"]),
        ]
        browser.click(".sortable thead th:nth-child(1) button")
        assert browser.run(SORTED_BY)[:3] == ["ascending", "none", "none"]


@needs_browser
def test_settings_sort_as_numbers_and_rows_keep_their_name_on_a_phone(tmp_path: Path) -> None:
    for beta in (0.1, 0.03, 1.0, 0.01, 10.0):
        metrics = {"fid/prior": 1 / beta, "psnr/test": beta}
        keep(tmp_path / "s", a_record("vae", 0, metrics, beta=beta))
    keep(tmp_path / "s", a_record("ae", 0, {}, beta=0.3, status="refused", reason="no"))
    assert main(["study=s", f"output_dir={tmp_path}", *FEW, "table.rows=[method,beta]", "table.columns=null"]) == 0
    cells = FIRST_COLUMN.replace("[0].innerText", "[arguments[0]].innerText")
    with Browser(width=390) as browser:
        browser.open((tmp_path / "s" / "report.html").as_uri())
        browser.click(".sortable thead th:nth-child(2) button")
        assert browser.run(cells, 1) == ["0.01", "0.03", "0.1", "0.3", "1", "10"]
        assert browser.run(cells, 0)[0].split() == ["vae", "vae,", "beta=0.01"]
        browser.click(".sortable thead th:nth-child(4) button")
        assert browser.run(cells, 3) == ["1.0", "2.0", "3.0", "4.0", "5.0", ""]


@needs_browser
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(address: str, width: int) -> None:
    with Browser(width=width) as browser:
        browser.open(address)
        for each_open in (False, True):
            browser.run(f"for (const e of document.querySelectorAll('details')) e.open = {str(each_open).lower()}")
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
            # a tall page has a bar at its side: nothing may hide behind it
            assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@needs_browser
def test_question_answer_and_picture_are_on_the_first_screen(address: str) -> None:
    with Browser(width=1280, height=800) as browser:
        browser.open(address)
        for part in ("h1", ".headline", ".samples .box"):
            bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
            assert browser.run(bottom, part) < 800, part


@needs_browser
def test_what_has_the_focus_shows_it(address: str) -> None:
    with Browser() as browser:
        browser.open(address)
        browser.press(".sortable thead button", ENTER)
        style = "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]"
        assert browser.run(style) == ["solid", "2px"]


# Where on the screen the marker of a row is, in the figure of points.
PLACE = """
const list = [...document.querySelectorAll(".fid_against_sharpness .marks li")];
const { row } = list.find((mark) => mark.querySelector("strong").textContent === arguments[0]).dataset;
const point = document.querySelector(`.fid_against_sharpness .point[data-row="${row}"]`);
point.scrollIntoView({ block: "center" });
const box = point.getBoundingClientRect();
return [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
"""
FADED = "return [...document.querySelectorAll('.point')].map(p => p.classList.contains('faded'))"


def mouse(browser: Browser, kind: str, place: list[float]) -> None:
    pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
    browser.command("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **pressed)


@needs_browser
def test_a_point_shows_its_numbers_and_samples_and_singles_out_its_family(tmp_path: Path) -> None:
    for method, regularizer in (("vae", "KullbackLeibler"), ("info_vae", "InformationMaximising")):
        parts = {"posterior": "GaussianPosterior", "prior": "NormalPrior", "regularizer": regularizer}
        config = {group: {"_target_": f"latentbench.{name}"} for group, name in parts.items()}
        for seed in range(2):
            metrics = {"sharpness_ratio/prior": 0.25 + len(method) / 10, "fid/prior": 20.0 + seed}
            images = some_images(["real", "prior"]) if seed == 0 else None
            caveats = {"fid/prior": "too few images"} if method == "info_vae" else {}
            keep(tmp_path / "s", a_record(method, seed, metrics, config=config, caveats=caveats), images)
    assert main(["study=s", f"output_dir={tmp_path}", *FEW, "table.columns=null"]) == 0
    with Browser() as browser:
        browser.open((tmp_path / "s" / "report.html").as_uri())
        place = browser.run(PLACE, "info_vae")
        assert browser.run("return document.querySelector('.tip').hidden")
        mouse(browser, "mouseMoved", place)
        text = browser.run("return document.querySelector('.tip').innerText")
        assert text.split("\n")[0] == "info_vae random encoder, other penalty"
        assert "fid/prior 20 ± 6 (seed 0: 20.0, seed 1: 21.0)" in text
        assert "Caveat: too few images" in text
        same = "return document.querySelector('.tip img').src === document.querySelector(`[alt^='info_vae']`).src"
        assert browser.run(same)
        for kind in ("mousePressed", "mouseReleased"):
            mouse(browser, kind, place)
        assert sorted(browser.run(FADED)) == [False, True]
        browser.click(".fid_against_sharpness .families button[aria-pressed='true']")
        assert browser.run(FADED) == [False, False]
        mouse(browser, "mouseMoved", [1.0, 1.0])
        assert browser.run("return document.querySelector('.tip').hidden")
        assert browser.messages() == []

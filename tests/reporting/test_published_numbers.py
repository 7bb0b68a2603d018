"""Published numbers beside ours: what is compared with what, and where it is printed."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from example_records import a_record, keep
from latentbench.cli import report
from latentbench.cli.tables import main
from latentbench.errors import UserError
from latentbench.reporting.ledger import published_latex, published_markdown, published_text, remarks, verdicts
from latentbench.reporting.published_numbers import Comparison, compare, published_numbers
from latentbench.reporting.summarize import summarize

NUMBER = {
    "data": "digits", "row": {"method": "vae"}, "key": "fid/prior", "value": 12.0, "within": [10, 14],
    "why": "theirs are few", "source": "A 2020, table 1", "read": "seen",
}  # fmt: skip
RECORDS = [
    *(
        a_record(
            seed=seed,
            metrics={"fid/prior": 9.0 + seed, "fid/gmm": 3.0, "kid/prior": 0.0},
            skipped={"rate/test": "no density"},
        )
        for seed in range(3)
    ),
    a_record("ae", metrics={"fid/prior": 40.0, "fid/gmm": 4.0}, standard_errors={"fid/prior": 2.0, "fid/gmm": 0.5}),
]


def compared(**changes: Any) -> list[Comparison]:
    config = OmegaConf.create({"table": {"published": [NUMBER | changes]}})
    return compare(published_numbers(config), summarize(RECORDS, rows=["method"]))


def test_ours_is_the_mean_over_seeds_with_its_standard_error() -> None:
    (found,) = compared(error=1.0)
    assert (found.ours, found.error, found.n) == (10.0, pytest.approx(1 / math.sqrt(3)), 3)
    assert found.errors_apart == pytest.approx(-2 / math.hypot(1, 1 / math.sqrt(3)))
    assert found.verdict == "reproduced"
    assert compared(within=[10, 10])[0].verdict == "reproduced"


@pytest.mark.parametrize(
    ("within", "verdict"),  # of 10.0 with a standard error of 0.58
    [
        ([None, 11.2], "reproduced"),
        ([None, 11.1], "undecided"),
        ([8.9, None], "undecided"),
        ([11.1, None], "undecided"),
        ([11.2, None], "missed"),
    ],
)
def test_a_limit_alone_has_to_be_two_standard_errors_away(within: list[float | None], verdict: str) -> None:
    assert compared(within=within)[0].verdict == verdict


def test_a_single_run_has_the_standard_error_of_its_record() -> None:
    (found,) = compared(row={"method": "ae"})
    assert (found.ours, found.error, found.n) == (40.0, 2.0, 1)


def test_differences_and_ratios_add_the_errors_of_their_terms() -> None:
    (found,) = compared(minus={"row": {"method": "ae"}})
    assert (found.ours, found.error, found.n) == (-30.0, pytest.approx(math.hypot(2, 1 / math.sqrt(3))), 1)
    assert str(found.published) == "fid/prior of vae minus fid/prior of ae on digits"
    (found,) = compared(row={"method": "ae"}, key="fid/gmm", over={"key": "fid/prior"})
    assert found.ours == 0.1
    assert found.error == pytest.approx(0.1 * math.hypot(0.5 / 4, 2 / 40))


def test_any_setting_names_a_row() -> None:
    assert compared(row={"posterior": "dirac", "latent_size": 8, "trainer.max_epochs": 50})[0].ours == 40


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"row": {"method": "gan"}}, "no run yet"),
        ({"minus": {"row": {"method": "gan"}}}, "no run yet"),
        ({"row": {"latent_size": 8}}, "several rows are fid/prior of latent_size=8"),
        ({"key": "nll/test"}, "not measured (finished)"),
        ({"key": "rate/test"}, "skipped: no density"),
        ({"over": {"key": "kid/prior"}}, "kid/prior of vae is 0"),
    ],
)
def test_without_a_number_of_ours_it_says_why(changes: dict[str, Any], verdict: str) -> None:
    (found,) = compared(**changes)
    assert found.verdict == verdict
    assert math.isnan(found.ours)
    assert math.isnan(found.errors_apart)
    assert f"| {verdict} " in published_markdown([found])


def test_numbers_of_data_without_runs_are_left_out() -> None:
    assert compared(data="mnist") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valeu": 3}, r"table.published\[0\]: an entry has data, key, read, "),
        ({"read": "heard"}, "read=heard: choose seen, recalled, computed"),
        ({"row": "vae"}, "row=vae: give the settings of a row"),
        ({"within": [1]}, r"within=\[1\]: give two numbers, null for no limit"),
        ({"value": "12"}, "value and error must be numbers"),
        ({"minus": {"method": "ae"}}, "give minus or over"),
        ({"minus": {"key": "fid/gmm"}, "over": {"key": "fid/gmm"}}, "give minus or over"),
    ],
)
def test_an_entry_that_cannot_be_used_is_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compared(**changes)


def test_the_cause_of_a_miss_is_told() -> None:
    found = [*compared(within=[12, 14], cause="fewer\n epochs"), *compared(), *compared(within=[11, 13])]
    assert remarks(found) == [
        f"limits of {'; '.join(3 * ['fid/prior of vae on digits'])}: theirs are few",
        "missed: fid/prior of vae on digits: fewer epochs",
        "missed: fid/prior of vae on digits: the cause is not known",
    ]


def test_a_sentence_counts_what_is_reproduced_and_names_the_rest() -> None:
    assert verdicts([]) == []
    assert verdicts(compared()) == ["Published numbers that are reproduced: 1 of 1."]
    found = [*compared(), *compared(within=[11, 13]), *compared(row={"method": "gan"})]
    assert verdicts(found) == [
        "Published numbers that are reproduced: 1 of 3; missed: fid/prior of vae on digits; "
        f"{found[2].verdict}: fid/prior of gan on digits."
    ]


def test_formats_hold_every_number_and_latex_is_ascii() -> None:
    found = [*compared(error=0.5), *compared(row={"method": "ae"}, read="recalled", within=[None, 14])]
    for text in (" ".join(published_text(found, width=200).split()), published_markdown(found)):
        assert "10.00 ± 0.58" in text
        assert "12.00 ± 0.50" in text
        assert "at most 14" in text
        assert "A 2020, table 1 (recalled)" in text
    latex = published_latex(found)
    assert latex.isascii()
    assert r"fid/prior of ae on digits & 40.0 $\pm$ 2.0 & 12 & +14.0 & at most 14 & missed" in latex


def test_tables_print_and_publish_them_and_the_ledger_lists_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for record in RECORDS:
        keep(Path("outputs/s"), record)
    entry = (
        "table.published=[{data:digits,row:{method:ae},key:fid/prior,value:12,within:[10,14],why:few,source:A 2020,"
        "read:seen,cause:other images}]"
    )
    command = ["study=s", "table.rows=[method]", "table.samples=[]", "publish=true", "metric=[fid]", "sampler=[prior]"]
    assert main(command) == 0
    assert "Published beside ours" not in capsys.readouterr().out
    assert not Path("results/ledger.md").exists()
    plain = Path("results/s/digits/table.md").read_text()

    assert main([*command, entry]) == 0
    assert "Published beside ours" in capsys.readouterr().out
    folder = Path("results/s/digits")
    assert (folder / "table.md").read_text().startswith(f"{plain}\n## Published beside ours\n")
    assert pd.read_csv(folder / "published.csv")["ours.mean"].tolist() == [40.0]
    ledger = Path("results/ledger.md").read_text()
    assert "## [s on digits](s/digits/table.md)" in ledger
    assert "| fid/prior of ae on digits |" in ledger
    assert "- missed: fid/prior of ae on digits: other images" in ledger
    assert report.main([*command[:-3], entry]) == 0
    page = Path("outputs/s/report.html").read_text()
    assert "Published numbers that are reproduced: 0 of 1; missed: fid/prior of ae on digits." in page
    assert "<h3>Published beside ours</h3>" in page
    assert "<li>missed: fid/prior of ae on digits: other images</li>" in page

    assert main(command) == 0
    assert not (folder / "published.csv").exists()
    assert not Path("results/ledger.md").exists()

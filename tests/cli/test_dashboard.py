"""The dashboard has a panel for all that the study's table shows; no test leaves the loopback."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from example_records import a_record
from latentbench.cli import dashboard
from latentbench.cli.dashboard import DRY_RUN, main, to_overrides
from latentbench.configuration.catalogue import option_files
from latentbench.configuration.compose import compose_config
from latentbench.reporting.dashboard import panels
from wandb_runs import logged
from wandb_server import WandbServer

pytestmark = pytest.mark.usefixtures("no_wandb_account")


needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="there is no wandb-workspaces: latentbench[dashboard]"
)
QUICK = ("sweep=quick", "entity=someone", "project=latentbench")


def kinds(*arguments: str) -> dict[str, list[str]]:
    """Titles of a study's panels by their kind."""
    found: dict[str, list[str]] = {}
    for section in panels(compose_config(to_overrides(arguments))).values():
        for panel in section:
            found.setdefault(panel.kind, []).append(panel.title)
    return found


def sent(server: WandbServer) -> dict[str, Any]:
    """The view that was saved."""
    (view,) = [variables for operation, variables in server.asked if operation == "UpsertView2"]
    return view | {"spec": json.loads(view["spec"])["section"]}


def test_a_dry_run_says_what_it_would_make_without_key_network_or_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*QUICK, DRY_RUN]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[0] == "workspace latentbench: quick of someone/latentbench"
    for line in (
        "bar fid/prior by setting, mean over seeds, beside real images: fid/prior, fid/real",
        "scatter fid against sharpness: fid/prior against sharpness_ratio/prior",
        "scatter rate distortion: distortion/test against rate/test",
        "line loss: train/loss, validation/loss against epoch",
        "media prior: images/prior",
        "media codes: images/codes",
    ):
        assert line in shown


@pytest.mark.parametrize("study", [path.stem for path in option_files("sweep")])
def test_every_study_has_every_kind_of_panel(study: str) -> None:
    assert set(kinds(f"sweep={study}")) == {"bar", "scatter", "line", "media"}


def test_the_panels_are_of_the_table_that_is_asked_for() -> None:
    mine = kinds(
        "study=mine", "table.columns=fid/gmm", "+table.figures.mine={x: beta, y: nll/test}", "table.samples=[]"
    )
    assert mine["bar"] == ["fid/gmm by setting, mean over seeds, beside real images"]
    assert mine["scatter"][-1] == "mine"
    assert mine["media"] == ["interpolation", "traversal", "codes"]


@needs_extra
def test_the_workspace_is_saved_where_the_runs_are(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(a_record(), tmp_path)
    assert main(["study=s", "project=latentbench", "+table.figures.mine={x: beta, y: nll/test}"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    view = sent(server)
    assert captured.out.startswith(f"{server.url}/someone/latentbench?nw=")
    assert (view["entityName"], view["projectName"]) == ("someone", "latentbench")
    assert view["displayName"] == "latentbench: s"
    (runs,) = view["spec"]["runSets"]
    assert '"s"' in json.dumps(runs["filters"])
    assert [key["name"] for key in runs["grouping"]] == ["variant.value"]
    made: dict[str, list[Any]] = {}
    for section in view["spec"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            made.setdefault(panel["viewType"], []).append(panel["config"])
    assert set(made) == {"Bar Chart", "Scatter Plot", "Run History Line Plot", "Media Browser"}
    assert made["Bar Chart"][0]["metrics"] == ["fid/prior", "fid/real"]
    assert made["Bar Chart"][0]["groupBy"] == "variant.value"
    axes = [(config["xAxis"], config["yAxis"]) for config in made["Scatter Plot"]]
    assert ("summary:sharpness_ratio/prior", "summary:fid/prior") in axes
    assert ("config:choices.value.beta", "summary:nll/test") in axes
    assert made["Run History Line Plot"][0]["xAxis"] == "epoch"
    assert made["Media Browser"][0]["mediaKeys"] == ["images/prior"]
    (run,) = server.runs.values()
    assert "variant" in json.loads(run["config"])


@needs_extra
def test_a_study_without_runs_is_said_to_have_none_yet(server: WandbServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(QUICK) == 0
    assert "someone/latentbench has no runs of study=quick yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("refuse", "key", "arguments", "message"),
    [
        pytest.param(False, "0" * 40, ["project=nowhere"], "someone/nowhere: Could not find", marks=needs_extra),
        pytest.param(False, "0" * 40, ["entity=nobody"], "nobody/latentbench: Could not find", marks=needs_extra),
        pytest.param(True, "0" * 40, [], "user is not logged in", marks=needs_extra),
        pytest.param(False, None, [], "you are not logged in to W&B: `wandb login`", marks=needs_extra),
        (False, None, ["sweep=nope"], "sweep=nope: there is no such option; choose one of autoencoder, beta"),
        (False, None, ["seed=-1"], "seed=-1"),
        (False, None, ["logger=none"], "logger=wandb"),
        (False, None, ["+table.figures.mine=beta"], "table.figures.mine=beta: give an x and a y"),
        (False, None, ["project="], "project= is empty: name the W&B project"),
        (False, None, ["projct=me"], "projct: there is no such key"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_exit_code_2(
    refuse: bool,
    key: str | None,
    arguments: list[str],
    message: str,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.refuse = refuse
    if key is None:
        monkeypatch.delenv("WANDB_API_KEY")
    first = ["sweep=quick"] if "logger=none" in arguments else ["sweep=quick", "entity=someone"]
    assert main([*first, *arguments]) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@needs_extra
def test_without_a_network_it_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # and the address of nobody, as `alone` has it
    assert main(QUICK) == 2
    err = capfd.readouterr().err
    assert "127.0.0.1:9" in err
    assert err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(QUICK) == 2
    err = capsys.readouterr().err
    assert "pip install 'latentbench[dashboard]'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h", "sweep=quick"]])
def test_help_names_every_part(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("entity=", "project=", DRY_RUN, "table.figures", "[dashboard]"))
    assert "{" not in shown.replace("{x: ..., y: ...}", "")
    assert dashboard.HELP in shown

"""Files for GitHub, pre-commit and citations: they parse, and what they name exists."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import latentbench
from latentbench.contracts.options import GROUPS
from latentbench.records.keys import VALIDATION, view_of

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yaml"
FORMS = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

pytestmark = pytest.mark.skipif(not WORKFLOW.is_file(), reason="these tests need a checkout")


def content(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def make_targets(commands: list[str]) -> list[str]:
    """The make targets in a list of commands, in order."""
    return [target for command in commands if command.startswith("make ") for target in shlex.split(command)[1:]]


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    citation = content(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == latentbench.__version__
    assert citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert {"message", "title", "abstract", "authors"} <= set(citation)


def test_the_hosted_workflow_runs_the_make_targets_of_the_local_one() -> None:
    (job,) = content(WORKFLOW)["jobs"].values()
    hosted = make_targets([step["run"] for step in job["steps"] if "run" in step])
    assert set(hosted) <= TARGETS
    assert hosted == make_targets((ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines())
    assert hosted[-2:] == ["check", "test"]


def test_pre_commit_runs_the_checks_of_make_check_from_the_projects_own_environment() -> None:
    (repository,) = content(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in repository["hooks"]]
    shown = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", "setup", "check"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert entries == [re.sub(r" (--\w+ )?\.$", "", line) for line in shown.stdout.splitlines()]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_has_what_github_requires(path: Path) -> None:
    form = content(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in ("input", "textarea", "dropdown")
        assert field["attributes"]["label"]


def test_there_is_a_form_for_bugs_options_and_numbers() -> None:
    assert {path.stem for path in FORMS} == {"bug_report", "new_option", "wrong_number"}
    assert "blank_issues_enabled" in content(ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml")


def test_the_form_for_options_offers_every_group() -> None:
    (kind,) = [field for field in content(FORMS[0].with_name("new_option.yml"))["body"] if field["id"] == "kind"]
    assert sorted(kind["attributes"]["options"]) == sorted(set(GROUPS) - {"trainer"})


def test_what_a_yaml_says_was_chosen_was_chosen_by_validation_images() -> None:
    comments = [
        " ".join(re.findall(r"#(.*)", path.read_text(encoding="utf-8"))) for path in sorted(ROOT.glob("conf/*/*.yaml"))
    ]
    told = [key for text in comments for key in re.findall(r"Chosen[^:]* by (\w+/[\w@]+)", text)]
    assert len(told) == sum(text.count("Chosen") for text in comments) > 0
    assert {view_of(key).split for key in told} == {VALIDATION}

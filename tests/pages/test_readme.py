"""The commands in the documents work, and the files, options and numbers that they name exist."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from latentbench.cli.api import PAGE as API
from latentbench.cli.api import api_page
from latentbench.cli.dashboard import to_overrides
from latentbench.cli.tables import BESIDE_RECORDS, FROM_RECORDS, NOT_PUBLISHED
from latentbench.compatibility.table import STORED_TABLE, compatibility_table, page_of_options
from latentbench.configuration.catalogue import CONF_DIR, GROUPS, SCALARS
from latentbench.configuration.compose import compose_config
from latentbench.configuration.value_checks import check
from latentbench.contracts.options import composed, with_every_value
from latentbench.records.classifiers import is_shipped
from latentbench.records.record import Record

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
OPTIONS = ROOT / "docs" / "options.md"
OUTPUT = ROOT / "docs" / "output.md"
DATA = ROOT / "docs" / "data.md"
STUDIES = ROOT / "docs" / "studies.md"
PAGES = (README, CONTRIBUTING, ROOT / "CHANGELOG.md", ROOT / "results" / "README.md", *(ROOT / "docs").glob("*.md"))
DOCUMENTS = [path for path in PAGES if path.is_file()]
OURS = ("", "-evaluate", "-status", "-tables", "-report", "-dashboard")  # commands that compose a config
COMMANDS = (*(f"latentbench{name}" for name in OURS), "make", "python", "pip")
INLINE = re.compile(r"`([^`\n]+)`")

pytestmark = pytest.mark.skipif(not README.is_file(), reason="there is no README beside these tests")


def block_lines(text: str) -> list[str]:
    """Lines of code blocks, fenced or indented."""
    fenced, lines = False, []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip().removeprefix("$ "))
    return lines


def commands(text: str) -> list[list[str]]:
    """Every command in code blocks and `inline code`, split into words; commands with <placeholders> are left out."""
    found = []
    for line in block_lines(text) + INLINE.findall(text):
        if line.split(" ")[0] in COMMANDS and not re.search(r"[<>…]", line):
            for part in re.split(r"\s&&\s", line):
                words = shlex.split(part, comments=True)
                found.append(words)
    return found


def runs(text: str) -> list[list[str]]:
    """Arguments of every latentbench command."""
    own = [words for words in commands(text) if words[0].startswith("latentbench")]
    own += [words[2:] for words in commands(text) if words[:3] == ["python", "-m", "latentbench"]]
    return [words[1:] for words in own]


ALL_RUNS = sorted({tuple(words) for path in DOCUMENTS for words in runs(path.read_text(encoding="utf-8"))})


def test_the_tables_of_options_and_of_what_fits_are_up_to_date() -> None:
    update = "run `python -m latentbench.compatibility.table`"
    assert OPTIONS.read_text(encoding="utf-8") == page_of_options(OPTIONS.read_text(encoding="utf-8")), update
    assert STORED_TABLE.read_text() == compatibility_table("simple") + "\n", update


def test_the_page_of_the_python_interface_is_up_to_date() -> None:
    assert API.read_text(encoding="utf-8") == api_page(), "python -m latentbench.cli.api"


def test_the_commands_of_a_newcomer_are_in_the_readme() -> None:
    typed = {tuple(words) for words in runs(README.read_text(encoding="utf-8"))}
    assert () in typed
    assert ("-m", "sweep=quick") in typed
    assert ("sweep=quick",) in typed
    assert ["make", "bench"] in commands(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("arguments", ALL_RUNS, ids=" ".join)
def test_every_command_is_valid(arguments: tuple[str, ...]) -> None:
    if {"--help", "--cfg", "--hydra-help"} & set(arguments):
        return
    multirun = bool({"-m", "--multirun"} & set(arguments))
    overrides = to_overrides([word for word in arguments if word not in ("-m", "--multirun")])
    assert [word for word in overrides if word.startswith("-")] == []
    parsed = OverridesParser.create().parse_overrides(overrides)
    each = with_every_value(BasicSweeper.split_arguments(parsed, None)[0]) if multirun else [overrides]
    # Hydra reads every metric and sampler from a file of its own: few, where a command does not choose them.
    few = [word for word in ("metric=[fid]", "sampler=[prior]") if word.partition("=")[0] not in " ".join(arguments)]
    for combination in each:
        config = compose_config([FROM_RECORDS, NOT_PUBLISHED, BESIDE_RECORDS, *few, *combination])
        check(config)
        assert OmegaConf.to_container(config.model, resolve=True)


def test_every_command_that_is_named_is_one_and_every_command_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert (
        set(re.findall(r"(?<![\w./-])latentbench-[a-z]+", text)) | {"latentbench"}
        == project["project"]["scripts"].keys()
    )
    for target in project["project"]["scripts"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_every_study_that_is_named_has_a_grid() -> None:
    for word in sorted({word for arguments in ALL_RUNS for word in arguments if word.startswith("sweep=")}):
        assert composed(word).hydra.sweeper.params, word


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {word for words in commands(path.read_text(encoding="utf-8")) if words[0] == "make" for word in words[1:]}
    assert named - targets == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_linked_file_exists(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_the_page_of_output_names_every_key_of_a_record() -> None:
    text = OUTPUT.read_text(encoding="utf-8")
    for key in Record.__dataclass_fields__:
        assert f"`{key}`" in text, key


def test_the_page_of_options_names_every_group_and_every_setting() -> None:
    text = OPTIONS.read_text(encoding="utf-8")
    for name in (*GROUPS, *SCALARS):
        assert re.search(rf"`{name}[`=]", text), name


def test_the_page_of_data_describes_every_data_set_and_its_features() -> None:
    _, data_sets, features = DATA.read_text(encoding="utf-8").split("\n## ")
    for path in (CONF_DIR / "data").glob("*.yaml"):
        assert f"`{path.stem}`" in data_sets, path.stem
        assert not is_shipped(path.stem) or f"| `{path.stem}` |" in features, path.stem


def test_the_readme_names_every_page_and_that_of_studies_every_study() -> None:
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert f"`{path.stem}`" in STUDIES.read_text(encoding="utf-8"), path.stem
    for path in DOCUMENTS:
        if path != README:
            assert f"]({path.relative_to(ROOT)})" in README.read_text(encoding="utf-8"), path.name


def test_numbers_that_the_readme_quotes_are_in_the_table_that_it_names() -> None:
    n_quoted = 0
    for part in re.split(r"\n\n|\n(?=- )", README.read_text(encoding="utf-8")):
        tables = re.findall(r"\]\((results/\w+/\w+/table\.md)\)", part) or ["results/quick/digits/table.md"]
        lines = "\n".join((ROOT / table).read_text(encoding="utf-8") for table in tables).splitlines()
        cells = {cell.strip(" *\N{DAGGER}") for line in lines for cell in line.split("|")}
        quoted = re.findall(r"-?[\d.]+\s+±\s+[\d.]*\d", part)
        assert {" ".join(number.split()) for number in quoted} - cells == set()
        n_quoted += len(quoted)
    assert n_quoted > 50, "the table of the README and the quotes around it"


def test_the_files_that_contributing_names_exist() -> None:
    package = ROOT / "src" / "latentbench"
    named = set(re.findall(r"`([\w./]+/[\w.]*|[\w/]+\.\w+)`", CONTRIBUTING.read_text(encoding="utf-8")))
    assert "records/record.py" in named
    missing = [name for name in named if not (package / name).exists() and not (ROOT / name).exists()]
    assert [name for name in missing if name not in ("base.py", "maximum_mean_discrepancy.py", "mmd.yaml")] == []


def test_contributing_shows_the_import_rule_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [rule for rule in project["tool"]["importlinter"]["contracts"] if rule["type"] == "layers"]
    layers = [layer.replace(" | ", ", ") for layer in contract["layers"]]
    assert "\n".join(layers) in "\n".join(block_lines(CONTRIBUTING.read_text(encoding="utf-8")))

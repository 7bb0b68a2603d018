"""The wheel contains everything that a run needs, outside of a checkout; the Makefile lists its targets."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import latentbench
from latentbench.configuration.catalogue import CONF_DIR

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "conf", "sweeps", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "outputs", "wandb")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="these tests need a checkout")


def run_command(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command and check that it exits with 0."""
    finished = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"WANDB_MODE": "disabled"} | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


def export_sources(folder: Path) -> Path:
    """Copy the sources of a checkout, without build outputs and caches."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=IGNORED)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_sources(tmp_path_factory.mktemp("export") / "latentbench")


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run_command(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, cwd=tree)
    (built,) = folder.glob("*.whl")
    return built


def contents(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as file:
        return {name for name in file.namelist() if not name.endswith("/")}


def test_a_wheel_holds_every_option_and_every_study(wheel: Path) -> None:
    expected = {f"latentbench/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    expected |= {f"latentbench/conf/sweep/{path.name}" for path in (ROOT / "sweeps").glob("*.yaml")}
    assert expected - contents(wheel) == set()


def test_a_wheel_holds_every_module_every_template_and_the_weights_of_the_features(wheel: Path) -> None:
    kinds = (".py", ".typed", ".jinja", ".css", ".js", ".safetensors")
    paths = [path for path in (ROOT / "src" / "latentbench").rglob("*") if path.suffix in kinds]
    assert {str(path.relative_to(ROOT / "src")) for path in paths} - contents(wheel) == set()


def test_a_wheel_holds_nothing_else(wheel: Path) -> None:
    name = wheel.name.split("-py3")[0]
    assert {path.split("/")[0] for path in contents(wheel)} == {"latentbench", f"{name}.dist-info"}
    assert [path for path in contents(wheel) if "outputs" in path or "__pycache__" in path] == []


def test_a_wheel_made_from_the_source_distribution_is_the_same(wheel: Path, tree: Path, tmp_path: Path) -> None:
    run_command(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, cwd=tree)
    (from_sdist,) = tmp_path.glob("*.whl")
    assert contents(from_sdist) == contents(wheel)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, inside a Git repository of another project."""
    project = tmp_path_factory.mktemp("project")
    target = project / "packages"
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile")
    run_command(sys.executable, "-m", "pip", "install", *quiet, "--target", target, wheel, cwd=project)
    if shutil.which("git"):
        someone = ("-c", "user.name=someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false")
        run_command("git", "init", "--quiet", cwd=project)
        run_command("git", *someone, "commit", "--quiet", "--allow-empty", "--message", "mine", cwd=project)
    return target


# The installed commands one after the other in one process, which imports torch and pandas once.
INSTALLED_COMMANDS = """
import runpy, sys
import latentbench

bin = sys.argv[1]
print(latentbench.__file__)
for command in sys.argv[2:]:
    name, *sys.argv[1:] = command.split()
    try:
        runpy.run_path(f"{bin}/{name}", run_name="__main__")
    except SystemExit as leaving:
        assert not leaving.code, (command, leaving.code)
"""


@pytest.fixture(scope="module")
def elsewhere(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with one run of the installed wheel, its tables and its page; what was said is in `said`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run = "latentbench trainer.max_epochs=1 backbone.hidden=[16] metric=[fid,sharpness] sampler=[prior] logger=none"
    commands = (f"{run} study=mine", "latentbench-tables study=mine", "latentbench-report study=mine")
    script = (sys.executable, "-c", INSTALLED_COMMANDS, installed / "bin", *commands)
    said = run_command(*script, cwd=folder, PYTHONPATH=str(installed)).stdout
    assert said.splitlines()[0] == str(installed / "latentbench" / "__init__.py")
    (folder / "said").write_text(said)
    return folder


def test_an_installed_wheel_runs_from_another_folder(elsewhere: Path) -> None:
    (path,) = (elsewhere / "outputs" / "mine").glob("*/record.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["choices"]["method"]) == ("finished", "vae")
    assert record["environment"]["packages"]["latentbench"] == latentbench.__version__


def test_an_installed_wheel_does_not_claim_the_commit_of_the_repository_around_it(elsewhere: Path) -> None:
    (path,) = (elsewhere / "outputs" / "mine").glob("*/record.json")
    assert json.loads(path.read_text())["environment"]["git_commit"] is None


def test_the_commands_of_an_installed_wheel_make_tables_and_a_page(elsewhere: Path) -> None:
    assert "fid" in (elsewhere / "said").read_text()
    assert (elsewhere / "outputs" / "mine" / "table.md").is_file()
    assert (elsewhere / "outputs" / "mine" / "report.html").is_file()


def test_every_package_that_is_imported_is_a_dependency() -> None:
    distributions = packages_distributions()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    lines = [*project["dependencies"], *extras]
    declared = {re.split(r"[<>=!~;\[ ]", line)[0].lower().replace("_", "-") for line in lines}
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"latentbench"}
    assert {"torch", "hydra"} <= foreign
    undeclared = {
        module
        for module in foreign
        if not {name.lower().replace("_", "-") for name in distributions.get(module, [module])} & declared
    }
    # Hydra depends on OmegaConf, in the version that it needs.
    assert undeclared - {"omegaconf"} == set()


def test_the_studies_of_a_checkout_are_those_in_sweeps() -> None:
    if ROOT / "conf" != CONF_DIR:
        pytest.skip("tests of an installed package, which brings its own studies")
    assert (CONF_DIR / "sweep").resolve() == ROOT / "sweeps"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_help_lists_the_targets(tmp_path: Path) -> None:
    shown = run_command("make", "--no-print-directory", "-f", ROOT / "Makefile", "help", cwd=tmp_path).stdout
    for target in ("help", "setup", "bench", "test", "check", "clean"):
        assert re.search(rf"^{target} +\w", shown, re.MULTILINE), target
    assert run_command("make", "--no-print-directory", "-f", ROOT / "Makefile", cwd=tmp_path).stdout == shown


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_bench_runs_a_study_and_prints_its_table(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "ready").touch()
    shown = run_command(
        "make", "--no-print-directory", "-n", "-f", ROOT / "Makefile", "bench", cwd=tmp_path
    ).stdout.splitlines()
    commands = ["latentbench -m sweep=quick seed=0,1,2", "latentbench-tables sweep=quick"]
    assert [line.split("/")[-1] for line in shown] == commands

"""Options and studies from a user's own folder and from an installed package, in every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import latentbench, the_one_line
from latentbench.cli import app, dashboard, report, status, tables
from latentbench.configuration import folders

PROGRAMS = {"latentbench": app, "status": status, "tables": tables, "report": report, "dashboard": dashboard}
STUDY = """# @package _global_
# A study of my own.
study: mine
table: {columns: [fid/prior]}
hydra: {mode: MULTIRUN, sweeper: {params: {regularizer: "kl,mine", seed: 0}}}
"""


def write_options(folder: Path, target: str = "latentbench.regularizers.none.NoRegularizer") -> Path:
    """A folder with a regularizer and a study of it."""
    for name, text in {
        "regularizer/mine.yaml": f"# A regularizer of my own.\n_target_: {target}\n",
        "sweep/my_study.yaml": STUDY,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_options(tmp_path / "my options")


def register(site: Path, value: str = "my_package", package: str = "my_package") -> None:
    """The metadata of an installed package, which registers options."""
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[latentbench]\nmine = {value}\n")


def test_a_class_that_its_module_lacks_is_told(own: Path) -> None:
    write_options(own, "latentbench.regularizers.none.Nope")
    told = latentbench("--config-dir", str(own), "regularizer=mine", "logger=none")
    assert "latentbench.regularizers.none has no Nope" in the_one_line(told)


@pytest.mark.parametrize("arguments", [["regularizer=broken"], ["regularizer=mmd", "regularizer.foo=1"]])
@pytest.mark.parametrize("name", ["latentbench", "status"])
def test_a_yaml_that_cannot_be_read_is_told_in_one_line(name: str, arguments: list[str], own: Path) -> None:
    (own / "regularizer" / "broken.yaml").write_text("# Broken.\n_target_: [mine\n")
    told = latentbench("--config-dir", str(own), *arguments, program=PROGRAMS[name].main)
    assert "broken.yaml, line 3, column 1: expected ',' or ']'" in the_one_line(told)
    assert told.code == 2


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of Python, in which packages can be installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "_installed", folders._installed.__wrapped__)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def installed(site: Path) -> Path:
    """A package with options. It cannot be imported, which none of the commands here should do."""
    register(site)
    write_options(site / "my_package" / "conf")
    (site / "my_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    return site


SHOWS = {
    "latentbench": ("beta=-1", "beta=-1: give a number, 0 or more"),
    "status": ("seed=7", "2 not started, of 2 runs"),
    "tables": ("seed=7", "no records in outputs/mine: run `latentbench -m sweep=my_study` first"),
    "report": ("seed=7", "no records in outputs/mine: run `latentbench -m sweep=my_study` first"),
    "dashboard": ("--dry-run", "fid/prior"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_takes_a_folder_of_options(name: str, own: Path) -> None:
    argument, says = SHOWS[name]
    finished = latentbench("--config-dir", own.name, "sweep=my_study", argument, program=PROGRAMS[name].main)
    assert says in finished.out + finished.err


def test_a_folder_in_the_search_path_without_quotes_gets_a_hint() -> None:
    assert "each folder needs quotes" in the_one_line(latentbench("hydra.searchpath=[~/options]", "--help"))


@pytest.mark.parametrize("path", ["file://my options", "pkg://a_package.conf"])
def test_folders_and_packages_may_be_named_in_the_search_path(path: str, own: Path, installed: Path) -> None:
    (installed / "my_package").rename(installed / "a_package")
    (installed / "my_package-1.0.dist-info" / "entry_points.txt").unlink()
    finished = latentbench(f"hydra.searchpath=['{path}']", "sweep=my_study", program=status.main)
    assert finished.out.startswith("2 not started"), finished


def test_the_options_of_an_installed_package_are_found_without_a_flag(installed: Path) -> None:
    finished = latentbench("sweep=my_study", program=status.main)
    assert finished.out.startswith("2 not started"), finished


def test_help_and_messages_list_options_of_others_beside_ours(installed: Path) -> None:
    shown = latentbench("--help").out
    assert "  mine                 A regularizer of my own.\n  mmd  " in shown
    assert ": adversarial, mine, none" in shown
    assert "my_study       A study of my own." in latentbench("--help", program=tables.main).out
    assert "l2, mine, mmd" in the_one_line(latentbench("regularizer=mne"))
    assert "latentbench.regularizers.none" in latentbench("regularizer=mine", "--cfg", "job").out


def test_an_option_that_raises_on_import_is_named_in_one_line(installed: Path) -> None:
    write_options(installed / "my_package" / "conf", target="my_package.Mine")
    assert "not in this table: regularizer=mine (_target_: my_package.Mine cannot" in latentbench("--help").out
    finished = latentbench("regularizer=mine", "logger=none")
    assert "my_package.Mine cannot be imported (RuntimeError: imported)" in the_one_line(finished)
    assert finished.code == 2


def two_of_one_name(site: Path) -> None:
    for package in ("my_package", "other"):
        register(site, package, package)
        write_options(site / package / "conf")


def one_of_our_names(site: Path) -> None:
    register(site)
    (write_options(site / "my_package" / "conf") / "regularizer" / "kl.yaml").write_text("# Another one.")


BROKEN: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no package": (register, ["my_package", "mine = 'my_package'", "no folder", "reinstall or uninstall"]),
    "no folder": (lambda site: (site / "my_package").mkdir(parents=True) or register(site), ["my_package/conf"]),
    "two of one name": (two_of_one_name, ["regularizer=mine", "my_package/conf", "other/conf", "rename one of them"]),
    "one of our names": (one_of_our_names, ["regularizer=kl", "my_package/conf", "rename one of them"]),
}


@pytest.mark.parametrize(("program", "argument"), [(app.main, "--help"), (tables.main, "seed=1")])
@pytest.mark.parametrize("case", BROKEN)
def test_a_package_that_registers_wrongly_is_named_in_one_line(
    case: str, program: Callable[[], Any], argument: str, site: Path
) -> None:
    install, says = BROKEN[case]
    install(site)
    finished = latentbench(argument, program=program)
    assert [words for words in says if words not in the_one_line(finished)] == []
    assert finished.code == 2

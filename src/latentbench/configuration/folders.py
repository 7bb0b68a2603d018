"""Folders of options that are not latentbench's own: of installed packages, and of the command line.

Imports no other package, so that --help is quick, and no plug-in: a broken one is noticed where it is used.
"""

import functools
import importlib.util
import os
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from latentbench.errors import UserError

ENTRY_POINTS = "latentbench"  # the group of entry points under which packages register their options
# Set by a command: the folders that its arguments name. The processes that it starts inherit it.
VARIABLE = "LATENTBENCH_OPTION_FOLDERS"
CONFIG_DIR_FLAGS = ("-cd", "--config-dir")
SEARCH_PATH = "hydra.searchpath="


def further_folders() -> list[Path]:
    """The folders of installed packages, then those of the command line."""
    given = [Path(folder) for folder in os.environ.get(VARIABLE, "").splitlines()]
    return list(dict.fromkeys(folder.resolve() for folder in (*_installed(), *given)))


@functools.cache  # a process keeps the packages that it started with
def _installed() -> tuple[Path, ...]:
    return tuple(_folder_of(point) for point in sorted(entry_points(group=ENTRY_POINTS)))


def take_folders(arguments: Sequence[str]) -> list[str]:
    """Search the folders that `--config-dir` and `hydra.searchpath` name from now on. Returns the other arguments.

    Raises: UserError if there is no such folder.
    """
    others: list[str] = []
    folders: list[Path] = []
    remaining = iter(arguments)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag in CONFIG_DIR_FLAGS:
            folders.append(_existing(flag, Path(value if equals else next(remaining, ""))))
        elif word.startswith(SEARCH_PATH):
            folders += _search_path(word)
        else:
            others.append(word)
    os.environ[VARIABLE] = "\n".join(map(str, folders))
    return others


def _search_path(override: str) -> list[Path]:
    """The folders of `hydra.searchpath=[file://folder,pkg://package.folder]`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # slow, and rarely needed
    from hydra.errors import HydraException

    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException as error:
        hint = f"each folder needs quotes of its own inside those of the shell: \"{SEARCH_PATH}['~/options']\""
        raise UserError(f"{override}: {hint}") from error
    folders = []
    for word in value if isinstance(value, list) else [value]:
        scheme, _, rest = str(word).rpartition("://")
        if scheme not in ("file", "pkg", ""):
            raise UserError(f"{SEARCH_PATH}[{word}]: give file://<folder> or pkg://<package>.<folder>")
        folders.append(_existing("hydra.searchpath", _inside_package(rest) if scheme == "pkg" else Path(rest)))
    return folders


def _existing(argument: str, folder: Path) -> Path:
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{argument}: there is no folder {folder}")
    return folder


def _folder_of(point: EntryPoint) -> Path:
    """The folder `conf` of the package that an entry point names."""
    folder = _inside_package(f"{point.value}.conf")
    if not folder.is_dir():
        package = point.dist.name if point.dist else point.name
        raise UserError(
            f"the package {package} registers options by the entry point {point.name} = {point.value!r}, and there is "
            f"no folder {folder}: reinstall or uninstall it"
        )
    return folder


def _inside_package(path: str) -> Path:
    """The folder that `package.folder` names, which need not exist. The package is not imported."""
    top, *inner = path.split(".")
    spec = importlib.util.find_spec(top)
    places = (spec.submodule_search_locations if spec else None) or [top]
    return Path(next(iter(places)), *inner)

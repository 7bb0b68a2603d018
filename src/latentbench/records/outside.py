"""What takes part in a run from outside the package: the source of its classes, and the files that they read.

The code of our own options belongs to a version, and published data have checksums. Code and files of a user may
change under the same settings, and so they count by their content.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import FIT_GROUPS, TRAINING_GROUPS
from latentbench.errors import UserError
from latentbench.records.record import write_atomically

WITH_VERSION = ("latentbench", "torch", "pytorch_lightning")  # packages that records and checkpoints name by version
OUTSIDE_GROUPS = (*TRAINING_GROUPS, *FIT_GROUPS)  # that take part in training
CHECKSUMS = {"sha256", "md5", "checksums"}  # keys of settings by which files are known
CLOCK_TICK = 2.0  # seconds; two changes of a file within it may have the same time on some file systems

Remembered = dict[str, tuple[list[int], str]]  # file -> its size and times, and the SHA-256 of its content


def check_unchanged(config: DictConfig, groups: Iterable[str]) -> None:
    """Raises: UserError if code or files from outside the package are not those that a stored run was trained with."""
    trained_with, now = config.get("outside") or {}, outside_digests(config, groups)
    for group, digest in now.items():
        if digest != trained_with.get(group):
            raise UserError(f"{group}: its code or files have changed since this run was trained: train it again")


def outside_digests(config: DictConfig, groups: Iterable[str] = OUTSIDE_GROUPS) -> dict[str, str]:
    """The `outside_digest` of each group that has one."""
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    return {group: digest for group in groups if (digest := outside_digest(content.get(group)))}


def outside_digest(settings: Any) -> str:
    """A digest of the code and the files from outside the package that take part in an option; empty without any.

    Code is the source of the module of each `_target_`, as in `source_digest`. Files are those that its settings name:
    `root`, `path`, and every other path that exists, a folder with all files below it. The root of published data,
    whose settings have checksums, does not count.
    """
    texts = list(_texts(settings))
    sources = [source_digest(value.rpartition(".")[0]) for key, value in texts if key == "_target_"]
    # Of published data the settings name the checksums, and the root is where the files may lie.
    is_published = not any(sources) and bool(CHECKSUMS & set(keys_of(settings)))
    files = [(key, value) for key, value in texts if key != "root" or not is_published]
    contents = [content_digest(path) for key, value in files if (path := _existing_path(key, value))]
    if not any(sources) and not contents:
        return ""
    return hashlib.sha256(json.dumps([sources, contents]).encode()).hexdigest()[:16]


def _texts(node: Any) -> Iterator[tuple[str, str]]:
    """The keys and values of all text in a nested container."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, str):
                yield str(key), value
            yield from _texts(value)


def keys_of(node: Any) -> Iterator[str]:
    """Every key in a nested container."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield str(key)
            yield from keys_of(value)


def _existing_path(key: str, value: str) -> Path | None:
    path = os.path.expanduser(value)
    return Path(path) if (key in ("root", "path") or "/" in value) and os.path.exists(path) else None


@functools.cache  # a process keeps the code that it started with
def source_digest(module: str) -> str:
    """SHA-256 of the source of a module and of what it imports; empty for a module of a package with a version.

    Of its imports, the modules of its own top-level package count, and those that are not installed, such as a file
    beside it. Imports are read from the source, and nothing is imported.
    """
    own, found, waiting = module.partition(".")[0], {}, [module]
    while waiting:
        parts = waiting.pop().split(".")
        # Importing a.b.c runs a and a.b, too.
        for name in (".".join(parts[: n + 1]) for n in range(len(parts))):
            path = None if name in found else _source_file(name, even_installed=parts[0] == own)
            if path is not None:
                found[name] = path.read_bytes()
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                waiting += _imports(found[name], package)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest() if found else ""


def _source_file(module: str, *, even_installed: bool) -> Path | None:
    top, *rest = module.split(".")
    if top in WITH_VERSION or top in sys.stdlib_module_names:
        return None
    spec = None
    with contextlib.suppress(ImportError, ValueError):  # no such module, or one without a file
        spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or [str(Path(spec.origin or "").with_suffix(""))]:
        path = Path(folder, *rest)
        is_installed = any(Path(folder).parent.glob("*.dist-info"))
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file() and (even_installed or not is_installed):
                return file
    return None


def _imports(source: bytes, package: str) -> Iterator[str]:
    """The names of the modules that a source imports, among them names that may be no modules."""
    with contextlib.suppress(SyntaxError):  # importing it says what is wrong
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                parents = package.split(".")
                base = parents[: len(parents) - node.level + 1] if node.level else []
                base += [node.module] if node.module else []
                yield from (".".join([*base, alias.name]) for alias in node.names if base)


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files below a folder, hidden ones left out.

    A file is read once, and again if its size or times have changed. Raises: UserError if one cannot be read.
    """
    before, now = _recall(path), {}
    try:
        for file in sorted([path] if path.is_file() else files_below(path)):
            stat = file.stat()
            state, name = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns], os.path.relpath(file, path)
            known_state, digest = before.get(name, ([], ""))
            if known_state != state:
                with file.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
            now[name] = (state, digest)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if now != before:
        _remember(path, now)
    return hashlib.sha256(json.dumps([(name, digest) for name, (_, digest) in now.items()]).encode()).hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    seen = set()  # a link may lead back to a folder above it
    for parent, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(
            name for name in folders if name[0] != "." and os.path.realpath(os.path.join(parent, name)) not in seen
        )
        yield from (path for name in files if name[0] != "." and (path := Path(parent, name)).is_file())


def folder() -> Path | None:
    """The folder in which the digests of files are remembered; None if the system knows no home folder."""
    from latentbench.records.user_cache import user_cache  # not at the top: most commands do not need pooch

    cache = user_cache()
    return cache / "contents" if cache else None


def _memory(path: Path) -> Path | None:
    memory = folder()
    return memory / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()}.json" if memory else None


def _recall(path: Path) -> Remembered:
    if not (memory := _memory(path)):
        return {}
    with contextlib.suppress(OSError, ValueError):
        return {name: (state, digest) for name, (state, digest) in json.loads(memory.read_bytes()).items()}
    return {}


def _remember(path: Path, contents: Remembered) -> None:
    """Write down the files that are old enough for their next change to be seen by its time."""
    if not (memory := _memory(path)):
        return
    limit = (time.time() - CLOCK_TICK) * 1e9
    settled = {name: (state, digest) for name, (state, digest) in contents.items() if max(state[1:]) < limit}
    with contextlib.suppress(OSError):  # not writable: read again next time
        write_atomically(memory, json.dumps(settled).encode())

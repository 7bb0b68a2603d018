"""The page of the Python interface, docs/api.md, from docstrings: `python -m latentbench.cli.api` writes it."""

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import latentbench
from latentbench.configuration.catalogue import CONF_DIR
from latentbench.evaluation.stored_run import LogLikelihood, StoredRun
from latentbench.evaluation.stored_study import StoredStudy

PAGE = CONF_DIR.parent / "docs" / "api.md"
FOR_COMMANDS = ("open", "measure")  # members that users reach by `latentbench.load` and by latentbench-evaluate


def api_page() -> str:
    """The functions that `latentbench.__all__` names, and the classes of what they return."""
    summary, _, example = inspect.getdoc(latentbench).partition("\n\n")  # type: ignore[union-attr]
    parts = ["# Python", "<!-- Written by `python -m latentbench.cli.api` from the docstrings. -->", summary]
    parts += ["    import latentbench\n\n" + "\n".join(f"    {line}" for line in example.splitlines())]
    parts += ["Only what this page names is kept stable."]
    for name in latentbench.__all__:
        parts += _section(f"## latentbench.{name}", getattr(latentbench, name))
    for cls in (StoredRun, StoredStudy):
        parts += _class(cls)
    parts += [f"## {LogLikelihood.__name__}", _markdown(inspect.getdoc(LogLikelihood) or "")]
    return "\n\n".join(parts) + "\n"


def _class(cls: type) -> Iterator[str]:
    yield f"## {cls.__name__}"
    yield _markdown(inspect.getdoc(cls) or "")
    for name, member in vars(cls).items():
        if name.startswith("_") or name in FOR_COMMANDS:
            continue
        if isinstance(member, property | cached_property):
            yield f"### {cls.__name__}.{name}"
            yield _markdown(inspect.getdoc(member) or "")
        else:
            yield from _section(f"### {cls.__name__}.{name}", member)


def _section(title: str, function: Callable[..., Any]) -> list[str]:
    signature = inspect.signature(function)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    shown = re.sub(r"[\w.]+\.(?=[A-Z])", "", str(signature.replace(parameters=parameters)))  # without names of modules
    shown = re.sub(r"'([A-Z]\w+)'", r"\1", shown)
    return [title, f"    {function.__name__}{shown}", _markdown(inspect.getdoc(function) or "")]


def _markdown(docstring: str) -> str:
    """A docstring as Markdown: its paragraphs, and a list of the lines that begin with a name and a colon."""
    lines: list[str] = []
    for line in docstring.splitlines():
        item = re.match(r"(\w+(, \w+)*): ", line)
        if item:
            if lines and lines[-1] and not lines[-1].startswith("- "):
                lines.append("")
            lines.append(f"- {line if line[0].isupper() else f'`{item[1]}`: {line[item.end() :]}'}")
        elif line and lines and lines[-1]:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(api_page(), encoding="utf-8")

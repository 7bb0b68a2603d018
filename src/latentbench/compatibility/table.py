"""The table of posteriors, priors and regularizers that fit together, as `Regularizer.refuses` decides it.

`python -m latentbench.compatibility.table` writes it anew to table.txt, which `latentbench --help` shows without
importing torch, and to docs/options.md, with the list of options there. With options from outside the package the help
has them in the table, too, which is then made once and kept in the user's cache.
"""

import contextlib
import hashlib
import itertools
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf
from tabulate import tabulate

from latentbench.configuration.catalogue import (
    CONF_DIR,
    GROUPS,
    PAIRED,
    TARGET,
    option_description,
    option_file,
    outside_files,
    own_options,
    preset,
)
from latentbench.configuration.targets import locate
from latentbench.records.outside import source_digest
from latentbench.records.record import write_atomically
from latentbench.records.user_cache import user_cache

STORED_TABLE = Path(__file__).with_suffix(".txt")
PAGE = CONF_DIR.parent / "docs" / "options.md"  # in a checkout
SHAPE = (1, 4, 4)  # shape of an image; it does not affect which parts fit together


def _part(group: str, option: str, **parameters: Any) -> Any:
    """Instantiate an option with the values in its YAML."""
    path = option_file(group, option)
    assert path is not None
    return instantiate(OmegaConf.load(path), _convert_="all", **parameters)


def compatible_regularizers(names: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], list[str]]:
    """(posterior, prior) -> the regularizers that do not refuse the pair.

    names: group -> the options to combine
    """
    priors = {name: _part("prior", name, latent_size=2, shape=SHAPE) for name in names["prior"]}
    regularizers = {name: _part("regularizer", name, latent_size=2) for name in names["regularizer"]}
    compatible = {}
    for posterior_name, prior_name in itertools.product(names["posterior"], names["prior"]):
        prior = priors[prior_name]
        posterior = _part("posterior", posterior_name, latent_size=2, coordinates=prior.coordinates)
        compatible[posterior_name, prior_name] = [
            name
            for name, regularizer in regularizers.items()
            if regularizer.refuses(posterior=posterior, prior=prior) is None
        ]
    return compatible


def compatibility_table(style: str, others: Mapping[str, Sequence[str]] | None = None) -> str:
    """latentbench's posteriors by priors, and a legend: a letter for all regularizers that accept the same pairs.

    style: a table format of tabulate, such as `github` or `simple`
    others: group -> options to show in place of latentbench's own
    """
    names = {group: own_options(group) for group in PAIRED} | dict(others or {})
    compatible = compatible_regularizers(names)
    pairs_of: dict[str, frozenset[tuple[str, str]]] = {}
    for regularizer in names["regularizer"]:
        pairs_of[regularizer] = frozenset(pair for pair, fitting in compatible.items() if regularizer in fitting)
    regularizers_of: dict[frozenset[tuple[str, str]], list[str]] = {}
    for regularizer, pairs in sorted(pairs_of.items(), key=lambda item: -len(item[1])):
        regularizers_of.setdefault(pairs, []).append(regularizer)
    letters = dict(zip(regularizers_of, string.ascii_uppercase + string.ascii_lowercase, strict=False))

    def cell(pair: tuple[str, str]) -> str:
        return "".join(letters[pairs] for pairs in regularizers_of if pair in pairs) or "-"

    rows = [[posterior, *(cell((posterior, prior)) for prior in names["prior"])] for posterior in names["posterior"]]
    table = tabulate(rows, headers=["posterior \\ prior", *names["prior"]], tablefmt=style)
    bullet = "- " if style == "github" else "  "
    legend = "\n".join(f"{bullet}{letters[pairs]}: {', '.join(alike)}" for pairs, alike in regularizers_of.items())
    return f"{table}\n\n{legend}"


def table_with_outside_parts() -> str:
    """The table of our parts and of those from outside the package, with a line for each that cannot be built.

    It is read from the user's cache while neither the options nor the source of their classes have changed.
    """
    outside = [path for group in PAIRED for path in outside_files(group)]
    texts = [path.read_text(encoding="utf-8") for path in outside]
    sources = [source_digest(target.rpartition(".")[0]) for text in texts for target in TARGET.findall(text)]
    state = [STORED_TABLE.read_text(), [path.stem for path in outside], texts, sources]
    folder = user_cache()
    kept = folder and folder / "compatibility" / f"{hashlib.sha256(repr(state).encode()).hexdigest()}.txt"
    if kept:
        with contextlib.suppress(OSError):
            return kept.read_text(encoding="utf-8")
    names, lines = {group: own_options(group) for group in PAIRED}, []
    for path, text in zip(outside, texts, strict=True):
        group, name = path.parent.name, path.stem
        try:
            for target in TARGET.findall(text):
                locate(target)
            compatible_regularizers({**{other: own_options(other) for other in PAIRED}, group: [name]})
            names[group] = sorted([*names[group], name])
        except Exception as error:  # code of others may raise anything
            lines.append(f"  not in this table: {group}={name} ({' '.join(str(error).split())})")
    table = "\n".join([compatibility_table("simple", names), *lines])
    if kept and not lines:
        with contextlib.suppress(OSError):  # not writable: made anew next time
            write_atomically(kept, table.encode())
    return table


def options_table() -> str:
    """latentbench's own options, each with its description, in Markdown."""
    rows = ["| option | what it is |", "|---|---|"]
    for group in GROUPS:
        for option in own_options(group):
            description = option_description(CONF_DIR / group / f"{option}.yaml").replace("|", r"\|")
            rows.append(f"| `{group}={option}` | {description} |")
    return "\n".join(rows)


def published_table() -> str:
    """What each of latentbench's methods takes from its paper, as its YAML tells it, in Markdown."""
    rows = [
        "| method | published loss | with | here: likelihood, beta | source | what differs |",
        "|---|---|---|---|---|---|",
    ]
    for method in own_options("method"):
        told = OmegaConf.load(CONF_DIR / "method" / f"{method}.yaml").published
        parts = preset(method)
        weight = f", `{parts['beta']}`" if parts.get("regularizer") not in (None, "none") else ""
        here = f"`{parts['likelihood']}`{weight}" if "likelihood" in parts else ""
        source = f"{told.source} ({told.read})"
        cells = [told.loss, told.images, here, source, told.differs or ""]
        rows.append(f"| `{method}` | " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def page_of_options(text: str) -> str:
    """The text of docs/options.md with its tables as they are now."""
    tables = (
        ("options", options_table()),
        ("fits", compatibility_table("github")),
        ("published", published_table()),
    )
    for mark, table in tables:
        begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        before, after = text.partition(begin)[0], text.partition(end)[2]
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    STORED_TABLE.write_text(compatibility_table("simple") + "\n")
    PAGE.write_text(page_of_options(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

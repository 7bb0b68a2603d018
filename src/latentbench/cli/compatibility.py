"""The table of posteriors, priors and regularizers that fit together, as `Regularizer.refuses` decides it.

`python -m latentbench.cli.compatibility` updates compatibility.txt, which `latentbench --help` shows without
importing torch, and prints the table of the README.
"""

import itertools
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf
from tabulate import tabulate

from latentbench.configuration.catalogue import CONF_DIR, option_files

STORED_TABLE = Path(__file__).with_suffix(".txt")
SHAPE = (1, 4, 4)  # shape of an image; it does not affect which parts fit together


def _part(group: str, option: str, **parameters: Any) -> Any:
    """Instantiate an option with the values in its YAML."""
    return instantiate(OmegaConf.load(CONF_DIR / group / f"{option}.yaml"), _convert_="all", **parameters)


def compatible_regularizers() -> dict[tuple[str, str], list[str]]:
    """(posterior, prior) -> the regularizers that do not refuse the pair."""
    names = {group: [path.stem for path in option_files(group)] for group in ("posterior", "prior", "regularizer")}
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


def compatibility_table(style: str) -> str:
    """A table of posteriors by priors and its legend; a letter stands for the regularizers that accept the same pairs.

    style: a table format of tabulate, such as `github` or `simple`.
    """
    compatible = compatible_regularizers()
    pairs_of: dict[str, frozenset[tuple[str, str]]] = {}
    for path in option_files("regularizer"):
        pairs_of[path.stem] = frozenset(pair for pair, names in compatible.items() if path.stem in names)
    regularizers_of: dict[frozenset[tuple[str, str]], list[str]] = {}
    for regularizer, pairs in sorted(pairs_of.items(), key=lambda item: -len(item[1])):
        regularizers_of.setdefault(pairs, []).append(regularizer)
    letters = dict(zip(regularizers_of, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
    posteriors, priors = (list(dict.fromkeys(names)) for names in zip(*compatible, strict=True))

    def cell(pair: tuple[str, str]) -> str:
        return "".join(letters[pairs] for pairs in regularizers_of if pair in pairs) or "-"

    rows = [[posterior, *(cell((posterior, prior)) for prior in priors)] for posterior in posteriors]
    table = tabulate(rows, headers=["posterior \\ prior", *priors], tablefmt=style)
    bullet = "- " if style == "github" else "  "
    legend = "\n".join(f"{bullet}{letters[pairs]}: {', '.join(names)}" for pairs, names in regularizers_of.items())
    return f"{table}\n\n{legend}"


if __name__ == "__main__":
    STORED_TABLE.write_text(compatibility_table("simple") + "\n")
    print(compatibility_table("github"))

"""Which posterior, prior and regularizer fit together: asked of the parts themselves."""

import itertools
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf
from tabulate import tabulate

from latentbench.configuration.catalogue import CONF_DIR, option_files

SHAPE = (1, 4, 4)  # of images that nothing depends on here


def part(group: str, option: str, **given: Any) -> Any:
    """An option as its YAML has it."""
    return instantiate(OmegaConf.load(CONF_DIR / group / f"{option}.yaml"), _convert_="all", **given)


def fitting() -> dict[tuple[str, str], list[str]]:
    """(posterior, prior) -> the regularizers that take them."""
    names = {group: [path.stem for path in option_files(group)] for group in ("posterior", "prior", "regularizer")}
    priors = {name: part("prior", name, latent_size=2, shape=SHAPE) for name in names["prior"]}
    regularizers = {name: part("regularizer", name, latent_size=2) for name in names["regularizer"]}
    fits = {}
    for posterior_name, prior_name in itertools.product(names["posterior"], names["prior"]):
        prior = priors[prior_name]
        posterior = part("posterior", posterior_name, latent_size=2, coordinates=prior.coordinates)
        fits[posterior_name, prior_name] = [
            name for name, made in regularizers.items() if made.refuses(posterior=posterior, prior=prior) is None
        ]
    return fits


def table_of_fits(style: str) -> str:
    """Posterior by prior with a letter for every set of regularizers that take the same pairs, and what each means.

    style: of tabulate, such as `github` or `simple`.
    """
    fits = fitting()
    pairs_of: dict[str, frozenset[tuple[str, str]]] = {}
    for path in option_files("regularizer"):
        pairs_of[path.stem] = frozenset(pair for pair, takers in fits.items() if path.stem in takers)
    sets: dict[frozenset[tuple[str, str]], list[str]] = {}
    for regularizer, pairs in sorted(pairs_of.items(), key=lambda item: -len(item[1])):
        sets.setdefault(pairs, []).append(regularizer)
    letters = dict(zip(sets, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
    posteriors, priors = (list(dict.fromkeys(names)) for names in zip(*fits, strict=True))
    rows = [
        [posterior, *("".join(letters[s] for s in sets if (posterior, prior) in s) or "-" for prior in priors)]
        for posterior in posteriors
    ]
    table = tabulate(rows, headers=["posterior \\ prior", *priors], tablefmt=style)
    meaning = "\n".join(f"{bullet(style)}{letters[pairs]}: {', '.join(names)}" for pairs, names in sets.items())
    return f"{table}\n\n{meaning}"


def bullet(style: str) -> str:
    """What begins a line of a list."""
    return "- " if style == "github" else "  "

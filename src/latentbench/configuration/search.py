"""What may be tuned of a method, and its trials: the points of a scrambled Sobol sequence over these ranges.

A method's YAML has, under `search`, the keys that may be tuned, and for each either `low`, `high` and `scale` (log or
linear) or a list of `values`. Of a `beta` that is a formula, `low` and `high` are multiples.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import option_file, read_option
from latentbench.configuration.identity import method_words
from latentbench.errors import UserError

MAX_TRIAL = 2**16
SEED = 18  # of the scrambling, the same for all methods
DIGITS = 3  # significant ones of a value, so that tables show all of it

Ranges = dict[str, dict[str, Any]]


def take_trial(config: DictConfig, words: Iterable[str], choices: Mapping[str, Any]) -> None:
    """Set what the trial of a composed config chooses. Trial 0 is the method as it is.

    words: the overrides of the run; choices: the option of every group
    Raises: UserError if there is nothing to tune, or a key that the trial chooses is set already, or is missing.
    """
    trial = config.trial
    if type(trial) is not int or not 0 < trial <= MAX_TRIAL:
        return  # what is no number of a trial is refused with all other values
    ranges = ranges_of(config.search)
    if not ranges:
        raise UserError(
            f"trial={trial}: {method_words(choices)} does not say what may be tuned: give its YAML a `search` "
            "(docs/tuning.md), or leave out trial"
        )
    check_free(ranges, config, words, choices, by=f"trial={trial}", instead="trial")
    set_values(config, {key: value_at(of_key, position) for (key, of_key), position in _positions(ranges, trial)})


def check_free(
    ranges: Iterable[str],
    config: DictConfig,
    words: Iterable[str],
    choices: Mapping[str, Any],
    *,
    by: str,
    instead: str,
) -> None:
    """Raises: UserError if a key that may be tuned is set already, or the composed config does not have it.

    words: the overrides of the run; choices: the option of every group
    by: what chooses the values; instead: what else the user may leave out
    """
    given = {word.lstrip("+~").partition("=")[0] for word in words}
    sweep = option_file("sweep", str(choices.get("sweep")))
    of_sweep = OmegaConf.create(read_option(sweep) if sweep else {})
    for key in ranges:
        if key in given or OmegaConf.select(of_sweep, key) is not None:
            raise UserError(f"{by} chooses {key} itself: leave out {key}, or {instead}")
        if OmegaConf.select(config, key, default=None) is None:
            raise UserError(f"{by} chooses {key}, which the parts of this run do not have: leave out {instead}")


def set_values(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Set the values of keys; a number in place of a formula is a multiple of it."""
    for key, value in values.items():
        usual = OmegaConf.select(config, key)
        is_multiple = isinstance(usual, str) and isinstance(value, float)
        OmegaConf.update(config, key, f"{value:g} * ({usual})" if is_multiple else value)


def trial_facts(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Key -> its range, and the `value` that the trial chose, at `position` in the range (0 to 1); {} for trial 0."""
    if not config.trial:
        return {}
    ranges = ranges_of(config.search)
    return {
        key: {**of_key, "value": _plain(OmegaConf.select(config, key)), "position": round(position, 4)}
        for (key, of_key), position in _positions(ranges, config.trial)
    }


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _positions(ranges: Ranges, trial: int) -> Iterator[tuple[tuple[str, dict[str, Any]], float]]:
    return zip(ranges.items(), sobol_point(len(ranges), trial), strict=True)


def ranges_of(search: Any) -> Ranges:
    """Key -> its range. Raises: UserError if one is none."""
    ranges: Ranges = OmegaConf.to_container(search) if OmegaConf.is_dict(search) else {}  # type: ignore[assignment]
    for key, of_key in ranges.items():
        if not _is_range(of_key):
            raise UserError(
                f"search.{key}={of_key}: give {{low: 0.1, high: 10, scale: log}}, with low below high (and above 0), "
                "scale: linear, or {values: [...]}"
            )
    return ranges


def _is_range(of_key: Any) -> bool:
    if not isinstance(of_key, dict):
        return False
    if of_key.keys() == {"values"}:
        return isinstance(of_key["values"], list) and len(of_key["values"]) > 1
    if of_key.keys() != {"low", "high", "scale"} or of_key["scale"] not in ("log", "linear"):
        return False
    ends = (of_key["low"], of_key["high"])
    return (
        all(type(end) in (int, float) for end in ends)
        and (of_key["scale"] == "linear" or ends[0] > 0)
        and ends[0] < ends[1]
    )


@functools.cache
def sobol_point(dimensions: int, trial: int) -> tuple[float, ...]:
    """The point of a trial, 1 or more, in the unit cube.

    Source: Sobol 1967, scrambled as in Matousek 1998, by scipy.stats.qmc.
    """
    from scipy.stats import qmc  # takes a second, which only trials need

    sequence = qmc.Sobol(dimensions, scramble=True, seed=SEED)
    if trial > 1:
        sequence.fast_forward(trial - 1)
    return tuple(sequence.random(1)[0].tolist())


def value_at(of_key: Mapping[str, Any], position: float) -> Any:
    """The value at a position of a range, from 0 up to 1."""
    if "values" in of_key:
        return of_key["values"][int(position * len(of_key["values"]))]
    low, high = of_key["low"], of_key["high"]
    value = low * (high / low) ** position if of_key["scale"] == "log" else low + position * (high - low)
    return float(f"{value:.{DIGITS}g}")

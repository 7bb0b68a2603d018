"""What `latentbench-tune` checks before the first trial."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.settings import settings
from latentbench.errors import UserError
from latentbench.metrics.base import FeatureMetric, ImageMetric
from latentbench.records.keys import CLASSIFIER, TEST, VALIDATION, View
from latentbench.running.job import ResolvedRun


def check_measured(rule: str, config: DictConfig) -> None:
    """Raises: UserError if no metric of a resolved config gives the number of a rule, or it has no better way."""
    metrics: list[Any] = [get_class(node._target_) for node in (config.get("metric") or {}).values()]
    quantities = {name: quantity for metric in metrics for name, quantity in metric.quantities.items()}
    found = [f"{name}/{each}" for metric in metrics for each in _sets_of(metric, config) for name in metric.quantities]
    if rule not in found:
        raise UserError(f"select={rule}: no metric of the trials gives it; choose from {', '.join(sorted(found))}")
    quantity = rule.partition("/")[0]
    if quantities[quantity].higher_is_better is None:
        raise UserError(f"select={rule}: neither more nor less of {quantity} is better")


def _sets_of(metric: type, config: DictConfig) -> Iterator[str]:
    """The sets on which a class of metrics gives numbers against validation images, as keys name them."""
    if not issubclass(metric, ImageMetric):
        yield View(VALIDATION).recorded(TEST)
        return
    for kind in config.features if issubclass(metric, FeatureMetric) else [CLASSIFIER]:
        for name in (*(config.get("sampler") or {}), *metric.other_sets):
            yield View(VALIDATION, str(kind)).recorded(str(name))


def common_settings(run: ResolvedRun, ranges: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """What all trials of a search have in common: what is searched by which rule, and every other setting."""
    config: dict[str, Any] = OmegaConf.to_container(run.config, resolve=True)  # type: ignore[assignment]
    fixed = {key: value for key, value in settings(run.choices, config).items() if key not in ranges}
    return {"select": rule, **fixed, "search": json.dumps(ranges, sort_keys=True)}


def check_same_search(before: Mapping[str, Any], now: Mapping[str, Any], study: str) -> None:
    """Raises: UserError if trials of a study were made with other settings; metrics may be added."""
    if differing := [key for key in now if key in before and before[key] != now[key]]:
        key, more = differing[0], len(differing) - 1
        raise UserError(
            f"study={study}: its trials have {key}={before[key]}, not {key}={now[key]}"
            + f" ({more} more differences)" * (more > 0)
            + ": name another study"
        )

"""What of a run is measured already, what a request adds or replaces, and the record with it.

All numbers of a record were made with the settings in its config: one setting per metric and per sampler, and one of
the features. A request with another setting therefore measures everything again that this setting affects.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from latentbench.configuration.catalogue import MEASURING_GROUPS
from latentbench.records.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = "_source_"  # key in the settings of an option from outside the package: a digest of its code and files
TEST = "test"  # the only set of a metric that measures the model on test images, whatever the samplers

Settings = dict[str, Any]  # group -> the config of its options by name (`metric`, `sampler`), or of its option


class Cells(NamedTuple):
    """The image sets on which to measure a metric."""

    samplers: frozenset[str]
    others: bool  # also the sets without a sampler: real images, reconstructions, interpolations, test images


class Evaluation(NamedTuple):
    """The result of measuring some cells of a run; the keys of `metrics` and of the like are `quantity/set_name`."""

    metrics: dict[str, float]
    standard_errors: dict[str, float]
    skipped: dict[str, str]
    caveats: dict[str, str]
    quantities: dict[str, list[str]]  # metric -> the quantities it measures
    uses_features: dict[str, bool]  # by metric
    failed: dict[str, str]  # metric -> the error that it raised
    facts: dict[str, Any]  # how it was measured
    images: dict[str, "NDArray[Any]"]  # uint8 images (N, C, H, W) of every new set, and arrays of latents for figures


def settings_of(config: Mapping[str, Any]) -> Settings:
    return {group: config.get(group) or {} for group in MEASURING_GROUPS}


def without_source(node: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an option as its constructor takes them."""
    return {key: value for key, value in node.items() if key != SOURCE}


def recorded_settings(record: Record) -> Settings:
    """The settings with which the numbers of a record were made."""
    settings = settings_of(record.config)
    measured_sets = {name for metric in record.measured.values() for name in metric["sets"]}
    return {
        "metric": {name: node for name, node in settings["metric"].items() if name in record.measured},
        "sampler": {name: node for name, node in settings["sampler"].items() if name in measured_sets},
        "features": settings["features"],
    }


def merged_settings(record: Record, requested: Settings) -> Settings:
    """The settings of a record after measuring what is requested."""
    recorded = recorded_settings(record)
    return {
        "metric": recorded["metric"] | requested["metric"],
        "sampler": recorded["sampler"] | requested["sampler"],
        "features": requested["features"],
    }


def cells_to_measure(record: Record, requested: Settings, *, force: bool = False) -> dict[str, Cells]:
    """The cells of every metric that have no number or reason yet, or whose settings changed.

    force: measure the requested metrics again, whether they are measured or not
    """
    recorded = recorded_settings(record)
    samplers = frozenset(requested["sampler"])
    changed_samplers = {
        name for name in samplers & recorded["sampler"].keys() if _differ(recorded, requested, "sampler", name)
    }
    cells: dict[str, Cells] = {}
    for name in [*requested["metric"], *(recorded["metric"].keys() - requested["metric"].keys())]:
        is_requested = name in requested["metric"]
        if name not in record.measured:
            cells[name] = Cells(samplers, True)
            continue
        sets = set(record.measured[name]["sets"])
        uses_other_features = record.measured[name]["uses_features"] and recorded["features"] != requested["features"]
        if uses_other_features or (is_requested and (force or _differ(recorded, requested, "metric", name))):
            cells[name] = Cells(samplers | (sets & recorded["sampler"].keys()), True)
        elif sets != {TEST}:
            missing = samplers - sets if is_requested else frozenset()
            cells[name] = Cells(missing | (changed_samplers & sets), False)
    return {name: each for name, each in cells.items() if each.samplers or each.others}


def describe_cells(cells: Mapping[str, Cells]) -> str:
    """What is to be measured, in words: `nll, fid (gmm)`."""
    return ", ".join(
        name if each.others else f"{name} ({', '.join(sorted(each.samplers))})" for name, each in cells.items()
    )


def _differ(recorded: Settings, requested: Settings, group: str, name: str) -> bool:
    return bool(recorded[group][name] != requested[group][name])


def changed_settings(record: Record, requested: Settings) -> list[str]:
    """A line for every setting of the record's numbers that the request changes: old and new value."""
    recorded = recorded_settings(record)
    lines: list[str] = []
    for group in ("metric", "sampler"):
        for name in recorded[group].keys() & requested[group].keys():
            lines += _differences(f"{group}.{name}", recorded[group][name], requested[group][name])
    if any(metric["uses_features"] for metric in record.measured.values()):
        lines += _differences("features", recorded["features"], requested["features"])
    return sorted(lines)


def _differences(prefix: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield f"{prefix}.{key}={old.get(key)} becomes {new.get(key)}"


def add(
    record: Record,
    cells: Mapping[str, Cells],
    requested: Settings,
    evaluation: Evaluation,
    *,
    features_choice: str,
    provenance: dict[str, Any],
) -> Record:
    """The finished record with what was measured: its cells are replaced, all others stay.

    features_choice: the option of the requested features
    provenance: the version and the hardware that made the numbers, and how long it took
    """
    settings = merged_settings(record, requested)
    replaced: set[str] = set()
    measured = dict(record.measured)
    for metric, (samplers, others) in cells.items():
        old_sets = record.measured.get(metric, {}).get("sets", {})
        sets = {name: i for name, i in old_sets.items() if name not in samplers and not others}
        quantities = evaluation.quantities[metric]
        replaced |= {f"{quantity}/{name}" for quantity in quantities for name in old_sets.keys() - sets.keys()}
        if metric not in evaluation.failed:
            keys = (key.split("/") for key in (*evaluation.metrics, *evaluation.skipped))
            sets |= {name: len(record.evaluations) for quantity, name in keys if quantity in quantities}
        measured[metric] = {"uses_features": evaluation.uses_features[metric], "sets": sets}
        if not sets:  # the metric failed; the next request measures it again
            del measured[metric], settings["metric"][metric]
    facts = record.config.get("resolved") or {}
    metrics = _replace(record.metrics, replaced, evaluation.metrics)
    skipped = _replace(record.skipped, replaced, evaluation.skipped)
    return dataclasses.replace(
        record,
        status="finished",
        reason=None,
        choices=record.choices
        | {"metric": sorted(settings["metric"]), "sampler": sorted(settings["sampler"]), "features": features_choice},
        config=record.config
        | settings
        | {"resolved": facts | evaluation.facts | {"metrics": facts.get("metrics", {}) | evaluation.facts["metrics"]}},
        metrics=metrics,
        standard_errors=_replace(record.standard_errors, replaced, evaluation.standard_errors),
        # The reason of a metric that failed before ends with its number.
        skipped={key: reason for key, reason in skipped.items() if key not in metrics},
        caveats=_replace(record.caveats, replaced, evaluation.caveats),
        measured=measured,
        evaluations=[*record.evaluations, provenance],
        seconds=record.seconds | {"evaluate": round(record.seconds.get("evaluate", 0.0) + provenance["seconds"], 3)},
    )


def _replace(old: Mapping[str, Any], replaced: set[str], new: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in old.items() if key not in replaced} | dict(new)

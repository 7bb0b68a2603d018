"""What of a run is measured already, what a request adds or replaces, and the record with it.

All numbers of a record were made with the settings in its config: one setting per metric, per sampler and per kind of
features. A request with another setting therefore measures everything again that this setting affects. The kind of
features and the split that is measured against are in the keys of the numbers: a request with others adds numbers.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from latentbench.configuration.catalogue import MEASURING_GROUPS
from latentbench.records.keys import CLASSIFIER, TEST, View, parse_set
from latentbench.records.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = "_source_"  # key in the settings of an option from outside the package: a digest of its code and files
AGAINST = "measure_against"

# group -> the config of its options by name; `measure_against` -> splits
Settings = dict[str, Any]


class Cells(NamedTuple):
    """The image sets on which to measure a metric in one view."""

    samplers: frozenset[str]
    others: bool  # also the sets without a sampler: real images, reconstructions, interpolations, test images


Request = Mapping[tuple[str, View], Cells]  # by metric and view


class Evaluation(NamedTuple):
    """The result of measuring some cells of a run; the keys of `metrics` and of the like are `quantity/set_name`."""

    metrics: dict[str, float]
    standard_errors: dict[str, float]
    skipped: dict[str, str]
    caveats: dict[str, str]
    quantities: dict[str, list[str]]  # metric -> the quantities it measures
    uses_features: dict[str, bool]  # by metric
    cells: Request  # what was measured
    failed: dict[tuple[str, View], str]  # the error that a metric raised in a view
    facts: dict[str, Any]  # how it was measured
    images: dict[str, "NDArray[Any]"]  # uint8 images (N, C, H, W) of every new set, and arrays of latents for figures


def settings_of(config: Mapping[str, Any]) -> Settings:
    groups = {group: config.get(group) or {} for group in MEASURING_GROUPS}
    return groups | {AGAINST: config.get(AGAINST) or [TEST]}


def without_source(node: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an option as its constructor takes them."""
    return {key: value for key, value in node.items() if key != SOURCE}


def recorded_settings(record: Record) -> Settings:
    """The settings with which the numbers of a record were made."""
    settings = settings_of(record.config)
    measured_sets = [(metric, *parse_set(name)) for metric, each in record.measured.items() for name in each["sets"]]
    samplers = {name for _, name, _ in measured_sets}
    features = {view.features for metric, _, view in measured_sets if record.measured[metric]["uses_features"]}
    return {
        "metric": {name: node for name, node in settings["metric"].items() if name in record.measured},
        "sampler": {name: node for name, node in settings["sampler"].items() if name in samplers},
        "features": {name: node for name, node in settings["features"].items() if name in features},
        AGAINST: sorted({view.split for _, _, view in measured_sets}),
    }


def merged_settings(record: Record, requested: Settings) -> Settings:
    """The settings of a record after measuring what is requested."""
    recorded = recorded_settings(record)
    return {
        "metric": recorded["metric"] | requested["metric"],
        "sampler": recorded["sampler"] | requested["sampler"],
        "features": recorded["features"] | requested["features"],
        AGAINST: sorted({*recorded[AGAINST], *requested[AGAINST]}),
    }


def cells_to_measure(record: Record, requested: Settings, *, force: bool = False) -> Request:
    """The cells of every metric that have no number or reason yet, or whose settings changed.

    force: measure the requested metrics again, whether they are measured or not
    """
    recorded = recorded_settings(record)
    samplers = frozenset(requested["sampler"])
    changed_samplers, changed_features = (
        {name for name in requested[group].keys() & recorded[group] if _differ(recorded, requested, group, name)}
        for group in ("sampler", "features")
    )
    cells: dict[tuple[str, View], Cells] = {}
    for name in [*requested["metric"], *(recorded["metric"].keys() - requested["metric"].keys())]:
        is_requested = name in requested["metric"]
        if name not in record.measured:
            cells |= {(name, View(split, None)): Cells(samplers, True) for split in requested[AGAINST]}
            continue
        measured = record.measured[name]
        kinds = requested["features"] if measured["uses_features"] else [CLASSIFIER]
        requested_views = [View(split, kind) for split in requested[AGAINST] for kind in kinds if is_requested]
        sets_of: dict[View, set[str]] = {view: set() for view in requested_views}
        for set_name, view in map(parse_set, measured["sets"]):
            sets_of.setdefault(view, set()).add(set_name)
        again = is_requested and (force or _differ(recorded, requested, "metric", name))
        for view, sets in sets_of.items():
            uses_changed = measured["uses_features"] and view.features in changed_features
            if again or uses_changed or not sets:
                cells[name, view] = Cells(samplers | (sets & recorded["sampler"].keys()), True)
            elif sets != {TEST}:
                missing = samplers - sets if view in requested_views else frozenset()
                cells[name, view] = Cells(missing | (changed_samplers & sets), False)
    return {cell: each for cell, each in cells.items() if each.samplers or each.others}


def describe_cells(cells: Request) -> str:
    """What is to be measured, in words: `nll, fid (gmm)`."""
    words = []
    for (metric, view), each in cells.items():
        sets = "" if each.others else f" ({', '.join(sorted(each.samplers))})"
        features = "" if view.features in (None, CLASSIFIER) else f" of {view.features} features"
        words.append(f"{metric}{sets}{features}" + (f" against {view.split} images" if view.split != TEST else ""))
    return ", ".join(words)


def _differ(recorded: Settings, requested: Settings, group: str, name: str) -> bool:
    return bool(recorded[group][name] != requested[group][name])


def changed_settings(record: Record, requested: Settings) -> list[str]:
    """A line for every setting of the record's numbers that the request changes: old and new value."""
    recorded = recorded_settings(record)
    lines: list[str] = []
    for group in MEASURING_GROUPS:
        for name in recorded[group].keys() & requested[group].keys():
            lines += _differences(f"{group}.{name}", recorded[group][name], requested[group][name])
    return sorted(lines)


def _differences(prefix: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield f"{prefix}.{key}={old.get(key)} becomes {new.get(key)}"


def add(
    record: Record,
    requested: Settings,
    evaluation: Evaluation,
    *,
    provenance: dict[str, Any],
) -> Record:
    """The finished record with what was measured: its cells are replaced, all others stay.

    provenance: the version and the hardware that made the numbers, and how long it took
    """
    settings = merged_settings(record, requested)
    replaced: set[str] = set()
    measured = dict(record.measured)
    for (metric, view), (samplers, others) in evaluation.cells.items():
        old_sets = measured.get(metric, {}).get("sets", {})
        anew = {view.recorded(name) for name in samplers}
        anew |= {name for name in old_sets if others and parse_set(name)[1] == view}
        sets = {name: i for name, i in old_sets.items() if name not in anew}
        quantities = evaluation.quantities[metric]
        replaced |= {f"{quantity}/{name}" for quantity in quantities for name in anew & old_sets.keys()}
        if (metric, view) not in evaluation.failed:
            keys = (key.split("/") for key in (*evaluation.metrics, *evaluation.skipped))
            found = {name for quantity, name in keys if quantity in quantities and parse_set(name)[1] == view}
            sets |= dict.fromkeys(found, len(record.evaluations))
        measured[metric] = {"uses_features": evaluation.uses_features[metric], "sets": sets}
    for metric in {metric for metric, _ in evaluation.cells if not measured[metric]["sets"]}:
        del measured[metric], settings["metric"][metric]  # it failed; the next request measures it again
    facts = record.config.get("resolved") or {}
    of_groups = {key: facts.get(key, {}) | evaluation.facts[key] for key in ("metrics", "features")}
    metrics = _replace(record.metrics, replaced, evaluation.metrics)
    skipped = _replace(record.skipped, replaced, evaluation.skipped)
    return dataclasses.replace(
        record,
        status="finished",
        reason=None,
        choices=record.choices | {group: sorted(settings[group]) for group in MEASURING_GROUPS},
        config=record.config | settings | {"resolved": facts | evaluation.facts | of_groups},
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

"""What `logger=wandb` writes to Weights & Biases, and under which keys. Tables and dashboards read by the same keys.

    run       group: the study · job type: the method · name: the variant and the seed · tags: `<group>=<option>`
    config    the run's config; `run_id`, `choices`, `preset` and `variant`; at the end `resolved`, what the run
              determined itself
    history   per epoch `train/<term>` and `validation/<term>`, the losses, over `epoch`
    summary   every metric under its own key; `standard_errors/<key>`, `skipped/<key>`, `caveats/<key>`;
              `status`, and `reason` unless it finished; `record`, the whole record as one line of JSON
    media     `images/<set>`, an image grid per image set, and plots of the latents

Tables are made from `record` alone; everything else is for W&B's own views.
"""

import hashlib
import json
from typing import Any

from latentbench.configuration.catalogue import TRAINING_GROUPS
from latentbench.configuration.defaults import default_settings
from latentbench.configuration.identity import NAMED_PARTS, method_name
from latentbench.configuration.settings import CLASS, Settings, is_of_measuring, settings, shared_by_seeds
from latentbench.configuration.weight import weight_name
from latentbench.records.record import Record

# Config
RUN_ID, CHOICES, PRESET, VARIANT, RESOLVED = "run_id", "choices", "preset", "variant", "resolved"
# History
STAGES, EPOCH = ("train", "validation"), "epoch"
# Summary
RECORD, STATUS, REASON = "record", "status", "reason"
STANDARD_ERRORS, SKIPPED, CAVEATS = "standard_errors", "skipped", "caveats"
# Media
IMAGES = "images"

# What the name of a variant says whether it is usual or not; and the seed, which it never says.
IN_EVERY_NAME = ("method", "data", "beta", "latent_size", "seed")


def study_filter(study: str) -> dict[str, str]:
    """The filter that selects the runs of a study in W&B's API."""
    return {"group": study}


def variant(choices: dict[str, Any], config: dict[str, Any], preset: dict[str, Any]) -> str:
    """The name of all runs that are the same but for the seed and are measured in the same way.

    Method, data, beta, latent size, and what departs from the preset and the defaults; then a hash of all that tells
    the runs apart, since the defaults of another version may differ.
    """
    values, usual = settings(choices, config), default_settings(choices, preset)
    departures = {key: value for key, value in values.items() if key not in IN_EVERY_NAME and value != usual.get(key)}
    shown = {key: value for key, value in departures.items() if _is_shown(key, value, usual)}
    in_name = () if choices["method"] else NAMED_PARTS
    options = [f"{key}={value}" for key, value in shown.items() if key in choices and key not in in_name]
    others = [f"{key}={value}" for key, value in shown.items() if key not in choices]
    beta = [] if choices["beta"] is None else [f"\N{GREEK SMALL LETTER BETA}={weight_name(choices['beta'])}"]
    measuring = {key: value for key, value in departures.items() if is_of_measuring(key)}
    digest = f"({_digest(shared_by_seeds(values) | measuring)})"
    return " ".join(
        [method_name(choices), *options, choices["data"], *beta, f"d={choices['latent_size']}", *others, digest]
    )


def _is_shown(key: str, value: Any, usual: Settings) -> bool:
    """Whether a departure is named: not a part that the model lacks, a class, or a value that follows from another."""
    return value is not None and not key.endswith(CLASS) and "${" not in str(usual.get(key))


def _digest(values: Settings) -> str:
    alike = {key: float(value) if isinstance(value, int) else value for key, value in values.items()}  # 1 is 1.0
    return hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()[:6]


def run_name(variant: str, seed: int) -> str:
    """The display name of a run."""
    return f"{variant} s{seed}"


def tags(choices: dict[str, Any]) -> list[str]:
    """A tag for every option that affects training."""
    return [f"{group}={choices[group]}" for group in TRAINING_GROUPS if choices.get(group)]


def start_config(
    run_id: str, choices: dict[str, Any], preset: dict[str, Any], config: dict[str, Any], variant: str
) -> dict[str, Any]:
    """The config logged at the start of a run; `resolved` is added at its end."""
    return config | {CHOICES: choices, PRESET: preset, RUN_ID: run_id, VARIANT: variant}


def choice_key(name: str) -> str:
    """The config key of a choice."""
    return f"{CHOICES}.{name}"


def curve_key(stage: str, term: str) -> str:
    """The history key of a loss term."""
    return f"{stage}/{term}"


def image_key(name: str) -> str:
    """The media key of an image grid."""
    return f"{IMAGES}/{name}"


def summary(record: Record) -> dict[str, Any]:
    """The summary of a run that has ended."""
    return {
        **record.metrics,
        **{f"{STANDARD_ERRORS}/{key}": error for key, error in record.standard_errors.items()},
        **{f"{SKIPPED}/{key}": reason for key, reason in record.skipped.items()},
        **{f"{CAVEATS}/{key}": text for key, text in record.caveats.items()},
        STATUS: record.status,
        **({REASON: record.reason} if record.reason else {}),
        RECORD: record.to_line(),
    }

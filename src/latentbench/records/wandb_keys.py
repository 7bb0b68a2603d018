"""What `logger=wandb` writes to Weights & Biases, and under which keys. Tables and dashboards read by the same keys.

    run       group: the study · job type: the method · name: the variant and the seed · tags: `<group>=<option>`
    config    the run's config; `run_id`, `choices` and `variant`; at the end `resolved`, what the run determined itself
    history   per epoch `train/<term>` and `validation/<term>`, the losses, over `epoch`
    summary   every metric under its own key; `standard_errors/<key>`, `skipped/<key>`, `caveats/<key>`;
              `status`, and `reason` unless it finished; `record`, the whole record as one line of JSON
    media     `images/<set>`, an image grid per image set, and plots of the latents

Tables are made from `record` alone; everything else is for W&B's own views.
"""

from typing import Any

from latentbench.configuration.catalogue import TRAINING_GROUPS, preset
from latentbench.records.record import Record

# Config
RUN_ID, CHOICES, VARIANT, RESOLVED = "run_id", "choices", "variant", "resolved"
# History
STAGES, EPOCH = ("train", "validation"), "epoch"
# Summary
RECORD, STATUS, REASON = "record", "status", "reason"
STANDARD_ERRORS, SKIPPED, CAVEATS = "standard_errors", "skipped", "caveats"
# Media
IMAGES = "images"


def study_filter(study: str) -> dict[str, str]:
    """The filter that selects the runs of a study in W&B's API."""
    return {"group": study}


def variant(choices: dict[str, Any]) -> str:
    """The name of all runs that differ only in the seed: method, parts unlike its preset, data, beta, latent size."""
    usual = preset(choices["method"])
    parts = {part: choices[part] for part in TRAINING_GROUPS if choices.get(part) and usual.get(part)}
    changed = [f"{part}={option}" for part, option in parts.items() if option != usual[part]]
    beta = [] if choices["beta"] is None else [f"\N{GREEK SMALL LETTER BETA}={choices['beta']:g}"]
    return " ".join([choices["method"], *changed, choices["data"], *beta, f"d={choices['latent_size']}"])


def run_name(choices: dict[str, Any]) -> str:
    """The display name of a run."""
    return f"{variant(choices)} s{choices['seed']}"


def tags(choices: dict[str, Any]) -> list[str]:
    """A tag for every option that affects training."""
    return [f"{group}={choices[group]}" for group in TRAINING_GROUPS if choices.get(group)]


def start_config(run_id: str, choices: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The config logged at the start of a run; `resolved` is added at its end."""
    return config | {CHOICES: choices, RUN_ID: run_id, VARIANT: variant(choices)}


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

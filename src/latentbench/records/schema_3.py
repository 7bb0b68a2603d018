"""Records and configs of schema 3, in the form of today. Then a run had one kind of features, and keys named none."""

from collections.abc import MutableMapping
from typing import Any

from latentbench.records.keys import CLASSIFIER

SCHEMA_3 = 3
NUMBERS = ("metrics", "standard_errors", "skipped", "caveats", "measured")


def name_features(choices: MutableMapping[str, Any], config: MutableMapping[str, Any]) -> None:
    """Put the features under the name of their option, as several kinds of them are."""
    option = choices.get("features")
    if not isinstance(option, str):
        return
    choices["features"] = [option]
    if "features" in config:
        config["features"] = {option: config["features"]}


def upgrade(content: dict[str, Any]) -> None:
    """Make a record of schema 3 one of today. Keys of other features than the classifier's are those of other numbers
    now: the run counts as not measured."""
    option, config = content["choices"].get("features"), content["config"]
    name_features(content["choices"], config)
    facts = config.get("resolved") or {}
    if isinstance(facts.get("features"), str):
        facts["features"] = {option: facts["features"]}
    uses_features = any(metric["uses_features"] for metric in content["measured"].values())
    if uses_features and option != CLASSIFIER:
        content |= {key: {} for key in NUMBERS} | {"evaluations": [], "status": "trained"}
        content["reason"] = f"measured by an earlier version, whose keys lack features={option}: measure it again"

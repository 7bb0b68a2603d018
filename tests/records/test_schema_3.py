"""Records of schema 3, in which a run had one kind of features, are read as those of today."""

import json
from pathlib import Path

import pytest

from example_records import a_record
from latentbench.errors import UserError
from latentbench.records.record import parse
from latentbench.records.run_folder import REQUIRED_KEYS, load_config, save_config
from latentbench.records.schema_3 import name_features


def of_schema_3(option: str) -> bytes:
    """The line of a run that measured fid in some features."""
    record = a_record(
        metrics={"fid/prior": 1.0, "rate/test": 2.0},
        config={"features": {"_target_": "a.Features"}, "resolved": {"features": f"{option}_0", "images_per_set": 9}},
        measured={
            "fid": {"uses_features": True, "sets": {"prior": 0}},
            "rate": {"uses_features": False, "sets": {"test": 0}},
        },
    )
    content = json.loads(record.to_line())
    content["choices"]["features"], content["schema"] = option, 3
    return json.dumps(content).encode()


def test_a_record_of_schema_3_has_its_features_by_name() -> None:
    record = parse(of_schema_3("classifier"), "x")
    assert record.schema == 4
    assert record.choices["features"] == ["classifier"]
    assert record.config["features"] == {"classifier": {"_target_": "a.Features"}}
    assert record.config["resolved"]["features"] == {"classifier": "classifier_0"}
    assert record.metrics == {"fid/prior": 1.0, "rate/test": 2.0}


def test_numbers_of_other_features_are_not_taken_for_those_of_the_classifier() -> None:
    record = parse(of_schema_3("random"), "x")
    assert (record.status, record.metrics, record.measured) == ("trained", {}, {})
    assert record.reason is not None
    assert "whose keys lack features=random: measure it again" in record.reason


def test_what_has_its_features_by_name_stays_as_it_is() -> None:
    choices, config = {"features": ["random"]}, {"features": {"random": {"seed": 0}}}
    name_features(choices, config)
    assert (choices, config) == ({"features": ["random"]}, {"features": {"random": {"seed": 0}}})


def test_the_config_of_a_run_folder_has_its_features_by_name(tmp_path: Path) -> None:
    content = {key: 1 for key in REQUIRED_KEYS if "." not in key} | {
        "resolved": {"shape": [1, 8, 8], "train_images": 9}
    }
    save_config(tmp_path, content | {"choices": {"features": "random"}, "features": {"_target_": "a.B", "seed": 3}})
    config = load_config(tmp_path)
    assert config.choices.features == ["random"]
    assert config.features == {"random": {"_target_": "a.B", "seed": 3}}


@pytest.mark.parametrize("lacking", ["choices", "config", "measured"])
def test_a_record_of_schema_3_that_lacks_a_key_is_no_record(lacking: str) -> None:
    content = json.loads(of_schema_3("random"))
    del content[lacking]
    with pytest.raises(UserError, match="x has"):
        parse(json.dumps(content), "x")

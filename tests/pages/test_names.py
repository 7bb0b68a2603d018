"""Settings, options, numbers and files that pages and the comments of YAMLs name are there."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.catalogue import CONF_DIR, GROUPS, own_options
from latentbench.configuration.compose import READER_KEYS
from latentbench.contracts.options import options, part_of, yaml_of
from latentbench.records.keys import TEST

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md", *(ROOT / "docs").glob("*.md")]
YAMLS = [*CONF_DIR.glob("*.yaml"), *CONF_DIR.glob("*/*.yaml")]
SETTING = re.compile(r"(?<![\w.+'-])([a-z_]{2,}(?:\.[a-z_]+)*)=(\[[^\]]*\]|[\w.,-]*)")
DOTTED = re.compile(rf"(?:{'|'.join(GROUPS)}|table)(?:\.[a-z_]+)+")
NOT_OURS = ("gres",)  # an option of sbatch
EXAMPLES = ("mine",)  # options of the reader's own
FILES = (".safetensors", ".csv", ".md", ".tex")  # model.safetensors and table.csv are no settings
IMAGE_SETS = ("reconstruction", "interpolation", "real", TEST)
SETS = "|".join([*options("sampler"), *IMAGE_SETS, "validation"])

pytestmark = pytest.mark.skipif(not PAGES[0].is_file(), reason="there are no pages beside these tests")


def codes(path: Path) -> list[str]:
    """What a page has in `inline code`, or the comments of a YAML."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"#(.*)" if path.suffix == ".yaml" else r"`([^`\n]+)`", text)
    return [code for code in found if not code.startswith(("latentbench-", "hydra."))]  # commands have their own test


def has(node: Any, path: list[str]) -> bool:
    """Whether a config has a key, which may be null."""
    if not path:
        return True
    return isinstance(node, DictConfig) and path[0] in node and has(node._get_node(path[0]), path[1:])


def is_setting(key: str) -> bool:
    """Whether some run, or a command that reads records, has this setting."""
    group, *path = key.split(".")
    if group in GROUPS:
        return any(has(yaml_of(group, option), path) for option in own_options(group))
    presets = [yaml_of(kind, option) for kind in ("sweep", "method") for option in own_options(kind)]
    whole = [OmegaConf.load(CONF_DIR / "config.yaml"), *presets]  # what a study tunes is null without one
    return key in READER_KEYS or any(has(config, [group, *path]) for config in whole)


@pytest.mark.parametrize("path", [*PAGES, *YAMLS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_setting_that_is_named_is_one(path: Path) -> None:
    named = [setting for code in codes(path) for setting in SETTING.findall(code) if setting[0] not in NOT_OURS]
    named += [(code, "") for code in codes(path) if DOTTED.fullmatch(code) and not code.endswith(FILES)]
    for key, value in named:
        # Comments may leave out their own group, as accelerator=cpu does in a trainer's.
        assert is_setting(key) or (path.suffix == ".yaml" and is_setting(f"{path.parent.name}.{key}")), key
        if key in GROUPS:
            chosen = [option for option in value.strip("[].,").split(",") if option not in ("", "null", *EXAMPLES)]
            assert set(chosen) <= set(own_options(key)), f"{key}={value}"


@pytest.mark.parametrize("path", [*PAGES, *YAMLS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_number_that_is_named_is_measured(path: Path) -> None:
    quantities = {name for option in options("metric") for name in part_of("metric", option).quantities}
    for code in codes(path):
        for quantity, _ in re.findall(rf"(?<![\w./-])([a-z_]+)/({SETS})\b", code):
            assert quantity in {*quantities, "quantity", "conf"}, code  # conf/prior/ is a folder


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_that_is_named_is_there(path: Path) -> None:
    places = (ROOT, ROOT / "src" / "latentbench")
    for name in (code for code in codes(path) if re.fullmatch(r"[\w.-]+/[\w./-]*", code)):
        beginning = name.partition("/")[0]
        if any((place / beginning).is_dir() for place in places) and beginning != "outputs":
            assert any((place / name).exists() for place in places), name

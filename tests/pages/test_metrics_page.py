"""docs/metrics.md defines the metrics that there are: keys, units, directions and defaults, and the rest in words."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from latentbench.contracts.options import options, part_of, yaml_of
from latentbench.metrics.base import ImageMetric, Metric, MonteCarloMetric
from latentbench.metrics.known_factors import FactorMetric

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
PARTS = ("Formula", "Source", "Failings", "Checked against")
DIRECTIONS = {True: "higher", False: "lower", None: ""}

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="there is no docs/metrics.md beside these tests")


def sections() -> dict[str, str]:
    """Text of each metric's section by the metric's name."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.split(r"^## `(\w+)`: .+$", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], (re.split(r"^# ", body, flags=re.MULTILINE)[0] for body in found[1::2]), strict=True))


def rows(section: str) -> dict[str, tuple[str, str]]:
    """Key -> units and direction, of a section's table."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"
    ]
    return {key.strip("`"): (units, direction) for key, units, direction in cells}


def test_every_metric_has_a_section_and_every_section_a_metric() -> None:
    assert sorted(sections()) == options("metric")


@pytest.mark.parametrize("option", options("metric"))
def test_a_section_has_the_metrics_keys_with_their_units_and_directions(option: str) -> None:
    metric: Metric = part_of("metric", option)
    set_name = "<set>" if isinstance(metric, ImageMetric) else "test"
    if isinstance(metric, ImageMetric) and not metric.other_sets:
        set_name = "<sampler>"
    known = {
        f"{name}/{set_name}": (quantity.units, DIRECTIONS[quantity.higher_is_better])
        for name, quantity in metric.quantities.items()
    }
    assert rows(sections()[option]) == known


@pytest.mark.parametrize("option", options("metric"))
def test_a_section_says_what_it_is_where_it_is_from_how_it_fails_and_what_it_was_checked_against(option: str) -> None:
    section = sections()[option]
    places = [section.find(f"- **{part}**: ") for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


WORDS = {0.1: "tenth", 2: "two", 5: "fifth|five", 7: "seven", 10: "ten"}


@pytest.mark.parametrize("option", options("metric"))
def test_a_section_tells_every_default(option: str) -> None:
    settings: Any = OmegaConf.to_container(yaml_of("metric", option)[option])
    for key, default in settings.items():
        values = [*default.values()] if isinstance(default, dict) else default
        if isinstance(values, list) and len(values) > 3:  # a grid, of which the page tells the size
            values = len(values)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not isinstance(value, str):
                told = rf"(?<![\d.,])({value:,g}|{value:,}|{WORDS.get(value, value)})(?!\d|[.,]\d)"
                assert re.search(told, sections()[option].lower()), f"{key}: {value}"


def test_the_page_lists_the_metrics_that_draw_random_numbers() -> None:
    (listed,) = re.findall(r"Metrics that draw random numbers \(([^)]*)\)", PAGE.read_text(encoding="utf-8"))
    drawing = {
        option for option in options("metric") if isinstance(part_of("metric", option), MonteCarloMetric | FactorMetric)
    }
    others = {"ais", "aggregate_posterior", "prior_mmd"}
    assert set(re.findall(r"`(\w+)`", listed)) == drawing | others


def test_the_page_shows_pictures_that_are_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.+?)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / picture).is_file()

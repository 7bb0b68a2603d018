"""docs/metrics.md defines the metrics that there are: their keys, units and directions, and the rest in words."""

import re
from pathlib import Path

import pytest

from latentbench.contracts.options import options, part_of
from latentbench.metrics.base import ImageMetric, Metric, MonteCarloMetric

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


@pytest.mark.parametrize("option", options("metric"))
def test_settings_that_a_section_names_are_there(option: str) -> None:
    metric = part_of("metric", option)
    if isinstance(metric, MonteCarloMetric) and metric.samples == 10:
        assert "ten draws per image" in sections()[option]
    for setting in re.findall(rf"`metric\.{option}\.(\w+)", sections()[option]):
        assert hasattr(metric, setting)


def test_the_page_shows_pictures_that_are_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.+?)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / picture).is_file()

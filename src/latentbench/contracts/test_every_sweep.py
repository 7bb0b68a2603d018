"""A study has a question, a grid of options that there are, and a table of what its runs record."""

import functools

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from latentbench.configuration.identity import choices
from latentbench.configuration.value_checks import check
from latentbench.contracts.options import composed, options, part_of, with_every_value
from latentbench.metrics.class_share import OTHER_CLASSES
from latentbench.metrics.inputs import INTERPOLATION, REAL, RECONSTRUCTION
from latentbench.records.keys import TEST, View, parse_set
from latentbench.records.tuning import tune_of
from latentbench.reporting.published_numbers import published_numbers


def cells(sweep: str) -> list[list[str]]:
    """The overrides of every run of a study."""
    asked = [f"{key}={value}" for key, value in composed(f"sweep={sweep}").hydra.sweeper.params.items()]
    grid: list[list[str]] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(asked), None)[0]
    return grid


@pytest.mark.parametrize("sweep", options("sweep"))
def test_it_has_a_name_a_question_and_a_grid(sweep: str) -> None:
    config = composed(f"sweep={sweep}")
    assert config.study == sweep
    assert str(config.question).rstrip().endswith("?")
    assert len(cells(sweep)) > 1
    check(config)


@pytest.mark.parametrize("sweep", options("sweep"))
def test_every_value_of_its_grid_composes(sweep: str) -> None:
    for cell in with_every_value(cells(sweep)):
        config = composed(f"sweep={sweep}", *cell)
        check(config)
        for key, _, value in (override.partition("=") for override in cell):
            assert str(config.hydra.runtime.choices.get(key, OmegaConf.select(config, key))) == value


@pytest.mark.parametrize("sweep", options("sweep"))
def test_its_table_shows_what_its_runs_record(sweep: str) -> None:
    config = composed(f"sweep={sweep}")
    known = choices(config, config.hydra.runtime.choices)
    for row in config.table.rows:
        assert row in known or OmegaConf.select(config, row) is not None, row
    for column in config.table.columns or []:
        assert is_recorded(config, column), column


@functools.cache
def quantities_of(metric: str) -> set[str]:
    return set(part_of("metric", metric).quantities)


def is_recorded(config: DictConfig, column: str) -> bool:
    """Whether a metric of the study has the quantity and what it is of."""
    quantity, _, of_what = column.partition("/")
    of_what, *features = of_what.split("@")
    return (
        set(features) <= set(config.features)
        and any(quantity in quantities_of(metric) for metric in config.metric)
        and of_what
        in {
            REAL,
            RECONSTRUCTION,
            INTERPOLATION,
            OTHER_CLASSES,
            "test",
            *config.sampler,
        }
    )


@pytest.mark.parametrize("sweep", options("sweep"))
def test_its_baseline_is_a_row(sweep: str) -> None:
    config = composed(f"sweep={sweep}")
    values = [value for row in config.table.rows for value in str(config.hydra.sweeper.params[row]).split(",")]
    assert str(config.table.baseline) in [value.strip() for value in values]


@pytest.mark.parametrize("sweep", options("sweep"))
def test_its_figures_can_be_drawn(sweep: str) -> None:
    config = composed(f"sweep={sweep}")
    assert {*config.table.samples} <= {RECONSTRUCTION, INTERPOLATION, *config.sampler}
    for name, axes in config.table.figures.items():
        if axes is not None:
            assert set(axes) == {"x", "y"}, name
            assert axes.x in config.table.rows or is_recorded(config, axes.x), name
            assert is_recorded(config, axes.y), name


@pytest.mark.parametrize("sweep", options("sweep"))
def test_its_published_numbers_are_of_its_runs_and_lie_within_their_own_limits(sweep: str) -> None:
    config = composed(f"sweep={sweep}")
    known = choices(config, config.hydra.runtime.choices)
    for number in published_numbers(config):
        assert number.low <= number.value <= number.high, number
        for term in filter(None, (number.term, number.other)):
            assert is_recorded(config, term.key), term
            assert {key.partition(".")[0] for key in term.row} <= known.keys(), term


@pytest.mark.parametrize("sweep", options("sweep"))
def test_what_it_tunes_by_is_a_number_against_validation_images_that_its_trials_record(sweep: str) -> None:
    config = composed(f"sweep={sweep}")
    tune = tune_of(config)
    if tune is None:
        return
    assert not {str(seed) for seed in tune.seeds} & set(config.hydra.sweeper.params.seed.split(","))
    for rule in tune.select:
        quantity, _, of_what = rule.partition("/")
        set_name, view = parse_set(of_what)
        assert is_recorded(config, f"{quantity}/{View(TEST, view.features).recorded(set_name)}"), rule


@pytest.mark.parametrize("sweep", options("sweep"))
def test_data_and_seeds_can_be_swapped(sweep: str) -> None:
    if sweep != "dogs":  # whose data are a folder and classes of it
        assert composed(f"sweep={sweep}", "data=fashion_mnist").data.name == "fashion_mnist"
    assert composed(f"sweep={sweep}", "seed=4").seed == 4
    params = composed(f"sweep={sweep}").hydra.sweeper.params
    assert "data" not in params  # a grid of data sets would have the last word
    assert params.seed.startswith("0,1,2")

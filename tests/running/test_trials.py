"""A trial is a run like any other, whose settings depend on its method and its number alone."""

import copy
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from example_records import a_record
from latentbench.cli.jobs import compose_jobs
from latentbench.cli.reproduce import command_of
from latentbench.configuration.catalogue import preset
from latentbench.configuration.search import ranges_of, set_values, sobol_point, value_at
from latentbench.contracts.options import composed
from latentbench.errors import UserError
from latentbench.records.record import load
from latentbench.reporting.tables import summarize
from latentbench.running.job import Job, resolve
from latentbench.running.run import run_job
from tiny_runs import TINY, digits_are_few

FEW = ("metric=[]", "sampler=[]")


def jobs(*words: str) -> list[Job]:
    return compose_jobs([*FEW, *words])


def test_trial_0_is_the_method_as_it_is() -> None:
    (usual,), (trial,) = jobs("method=rae"), jobs("method=rae", "trial=0")
    assert resolve(usual).folder == resolve(trial).folder
    assert "search" not in resolve(usual).config


def test_the_first_points_are_what_they_have_always_been() -> None:
    """Published trials have these values: another sequence would be other runs."""
    first = [sobol_point(2, trial) for trial in (1, 2, 3, 4)]
    assert np.round(first, 4).tolist() == [[0.9972, 0.736], [0.4995, 0.0235], [0.0019, 0.9544], [0.5034, 0.3054]]


def test_points_do_not_depend_on_how_many_there_are_and_fill_the_cube_evenly() -> None:
    points = np.array([sobol_point(3, trial) for trial in range(1, 17)])
    assert np.array_equal(points, [sobol_point(3, trial) for trial in reversed(range(1, 17))][::-1])
    for coordinate in points.T:
        assert sorted((coordinate * 16).astype(int)) == [*range(16)]


def test_values_lie_in_their_ranges_evenly_on_their_scales() -> None:
    log, linear = {"low": 0.01, "high": 100, "scale": "log"}, {"low": 1, "high": 3, "scale": "linear"}
    assert [value_at(log, u) for u in (0, 0.25, 0.5)] == [0.01, 0.1, 1.0]
    assert [value_at(linear, u) for u in (0, 0.5)] == [1.0, 2.0]
    assert [value_at({"values": ["a", "b", "c"]}, u) for u in (0, 0.34, 0.99999)] == ["a", "b", "c"]


def test_a_range_of_a_formula_is_in_its_multiples() -> None:
    config = OmegaConf.create({"beta": "2 * pixels / latents"})
    set_values(config, {"beta": 0.5})
    assert config.beta == "0.5 * (2 * pixels / latents)"


def test_a_trial_is_the_same_for_all_seeds_alone_and_in_a_sweep() -> None:
    sweep = jobs("-m", "method=wae_mmd", "trial=1,2", "seed=0,1")
    (alone,) = jobs("method=wae_mmd", "trial=2", "seed=1")
    assert resolve(sweep[-1]).folder == resolve(alone).folder
    assert sweep[2].config.beta == sweep[3].config.beta != sweep[0].config.beta
    assert len({resolve(job).folder for job in sweep}) == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["method=vae", "trial=1", "beta=2"], "trial=1 chooses beta itself: leave out beta, or trial"),
        (["-m", "sweep=beta", "trial=1"], "leave out beta, or trial"),
        (["method=null", "trial=1"], "does not say what may be tuned"),
        (["method=free_bits_vae", "regularizer=mmd", "trial=1"], "regularizer.free_bits, which the parts"),
        (["search.beta.low=200", "trial=1"], "search.beta={'low': 200"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(words: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says.replace("(", r"\(")) as raised:
        jobs(*words)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("trial", ["-1", "1.5", "many", "100000000"])
def test_a_number_of_a_trial_is_a_whole_one(trial: str) -> None:
    (job,) = jobs(f"trial={trial}")
    with pytest.raises(UserError, match=f"trial={trial}: trial must be a whole number, 0 or more"):
        resolve(job)


@pytest.mark.parametrize(
    ("method", "key"),
    [("student_t_vae", "prior.degrees_of_freedom"), ("wae_mmd", "regularizer.scales"), ("rae", "model.learning_rate")],
)
def test_its_record_says_what_it_chose_and_which_command_repeats_it(method: str, key: str, tmp_path: Path) -> None:
    (job,) = jobs(f"method={method}", "trial=3", *TINY, f"output_dir={tmp_path}")
    with digits_are_few():
        assert run_job(job) == "finished"
    record = load(resolve(job).folder / "record.json")
    assert record.choices["trial"] == 3
    chosen = record.config["resolved"]["trial"]
    assert chosen.keys() == ranges_of(composed(f"method={method}").search).keys()
    assert chosen["beta"]["value"] == record.config["beta"] != preset(method)["beta"]
    assert chosen[key]["value"] == OmegaConf.select(OmegaConf.create(record.config), key)
    command = command_of(record)
    assert command
    assert " trial=3 " in command
    assert "beta=" not in command


def test_trials_are_rows_of_their_own_that_seeds_share() -> None:
    records = [a_record(seed=seed) for seed in (0, 1)]
    for trial, beta in ((1, 0.1), (2, 7.0)):
        chosen = {"beta": {"value": beta}, "model.learning_rate": {"value": beta / 100}}
        config = {"trial": trial, "beta": beta, "model": {"learning_rate": beta / 100}, "resolved": {"trial": chosen}}
        for seed in (0, 1):
            record = a_record(seed=seed, beta=beta, config=copy.deepcopy(config))
            record.choices["trial"] = trial
            records.append(record)
    summary = summarize(records, rows=["method"])
    assert [row.label for row in summary.rows] == ["vae, trial=0", "vae, trial=1", "vae, trial=2"]
    assert [row.seeds for row in summary.rows] == [2, 2, 2]

"""The commands as a user types them: help, and one clear line for whatever cannot be carried out as given."""

import gzip
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from commands import Finished, files, latentbench, the_one_line
from latentbench.cli import app, dashboard, log, report, status, tables
from latentbench.cli.command import folders_and_words
from latentbench.configuration.catalogue import CONF_DIR, GROUPS, SCALARS, option_description
from latentbench.configuration.compose import compose_config
from latentbench.running import run

NOT_A_KEY = "there is no such key"
NOT_AN_OPTION = "there is no such option"
DEAD_MIRROR = "data.mirrors=[http://127.0.0.1:9/]"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands are given where there is nothing, and none gets as far as training."""

    def no_training(*_: Any) -> None:
        pytest.fail("this command must not get as far as training")

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(run, "fit", no_training)
    return folder


WRONG = {
    "an unknown method": ("method=nonsense", ["method=nonsense", NOT_AN_OPTION, "vae", "wae_mmd", "gan"]),
    "an unknown data set": ("data=cifar", ["data=cifar", NOT_AN_OPTION, "digits", "fashion_mnist", "mnist"]),
    "an unknown sweep": ("-m sweep=quik", ["sweep=quik", NOT_AN_OPTION, "quick"]),
    "an unknown method in a sweep": ("-m method=vae,nonsense", ["method=nonsense", NOT_AN_OPTION, "beta_vae"]),
    "an unknown metric in a list": ("metric=[fid,nonsense]", ["metric=nonsense", NOT_AN_OPTION, "sharpness"]),
    "an unknown sampler in a list": ("sampler=[prior,nonsense]", ["sampler=nonsense", NOT_AN_OPTION, "gmm"]),
    "no data": ("data=null", ["data"]),
    "a word for a learning rate": ("model.learning_rate=fast", ["model.learning_rate=fast", "number above 0"]),
    "a width for a list of widths": ("backbone.hidden=5", ["backbone.hidden=5", "such as [64, 64]"]),
    "half a component": ("prior=mixture prior.components=2.5", ["prior.components=2.5", "whole number"]),
    "half a batch": ("data.batch_size=2.5", ["data.batch_size=2.5", "whole number"]),
    "half a draw": ("metric.nll.samples=2.5", ["metric.nll.samples=2.5", "whole number"]),
    "a scale that is no number": (
        "likelihood=gaussian likelihood.scale=nan",
        ["likelihood.scale=nan", "finite number"],
    ),
    "a misspelt key": ("latentsize=3", ["latentsize", NOT_A_KEY, "latent_size"]),
    "a key unlike any": ("nonsense=3", ["nonsense", NOT_A_KEY, "latent_size", "method", "seed"]),
    "a misspelt key of a part": ("trainer.max_epoch=3", ["trainer.max_epoch", NOT_A_KEY, "max_epochs"]),
    "a key that latentbench sets itself": (
        "+trainer.callbacks=[EarlyStopping]",
        ["trainer.callbacks", NOT_A_KEY, "accumulate", "patience"],
    ),
    "a key of a trainer whose steps are not ours": (
        "+trainer.accumulate_grad_batches=2",
        ["trainer.accumulate_grad_batches", NOT_A_KEY],
    ),
    "seconds in words": ("checkpoint_seconds=often", ["checkpoint_seconds=often", "number of seconds, 0 or more"]),
    "an empty range": ("-m seed=range(0,0)", ["the grid is empty"]),
    "a misspelt key of a metric": (
        "metric.prdc.neighbours=3",
        ["prdc.neighbours", NOT_A_KEY, "the keys are: k"],
    ),
    "a key of a metric without any": ("metric.fid.k=3", ["metric.fid.k", NOT_A_KEY, "the keys are: none"]),
    "a key of a metric that is not chosen": ("metric=[fid] metric.nll.samples=3", ["nll", "add it to metric=[...]"]),
    "a key of another option": ("objective.samples=5", ["objective.samples", "objective=importance_weighted"]),
    "a misspelt key in a sweep": ("-m latentsize=3,4", ["latentsize", NOT_A_KEY, "latent_size"]),
    "no latents": ("latent_size=0", ["latent_size=0", "whole number", "1 or more"]),
    "half a latent": ("latent_size=2.5", ["latent_size=2.5", "whole number", "1 or more"]),
    "latents in words": ("latent_size=two", ["latent_size=two", "whole number", "1 or more"]),
    "a negative beta": ("beta=-1", ["beta=-1", "number", "0 or more"]),
    "beta nan": ("beta=nan", ["beta=nan", "number", "0 or more"]),
    "beta infinite": ("beta=inf", ["beta=inf", "number", "0 or more"]),
    "beta in words": ("beta=abc", ["beta=abc", "number", "0 or more"]),
    "beta empty": ("beta=", ["beta", "number", "0 or more"]),
    "beta a truth value": ("beta=true", ["beta", "number", "0 or more"]),
    "half a seed": ("seed=1.5", ["seed=1.5", "whole number", "0 or more"]),
    "a negative seed": ("seed=-1", ["seed=-1", "whole number", "0 or more"]),
    "a seed too large to be one": ("seed=99999999999999999999", ["seed=99999999999999999999"]),
    "several seeds without -m": ("seed=0,1", ["seed=0,1", "--multirun"]),
    "no thread": ("threads=0", ["threads=0", "1 or more"]),
    "epochs without end": ("trainer.max_epochs=-1", ["max_epochs"]),
    "no epoch": ("trainer.max_epochs=0", ["trainer.max_epochs=0", "1 or more"]),
    "epochs in words": ("trainer.max_epochs=abc", ["max_epochs", "abc"]),
    "force neither true nor false": ("force=maybe", ["force=maybe", "true"]),
    "a key alone": ("beta", ["'beta'", "missing EQUAL"]),
    "a value alone": ("=3", ["=3"]),
    "two equals signs": ("beta==3", ["beta==3"]),
    "a bracket left open": ("seed=[1", ["seed=[1: '[' and ']' come in pairs, as in seed=[...]"]),
    "a bracket left open in a list of options": ("metric=[fid,rate", ["metric=[fid,rate: '[' and ']' come in pairs"]),
    "a bracket too many": ("backbone.hidden=[16]]", ["backbone.hidden=[16]]: '[' and ']' come in pairs"]),
    "a list for keys": ("data=arrays data.fractions=[0.1]", ["data.fractions=[0.1]: give each", ".<name>=..."]),
    "keys for a list": ("backbone.hidden={a:1}", ["backbone.hidden={a:1}: give a list, backbone.hidden=[...]"]),
    "one number for two": ("data=arrays data.fractions=0.2", ["=0.2: give data.fractions.validation=..."]),
    "a study that is a path": ("study=a/b", ["study=a/b", "folder", "letters"]),
    "a study above its folder": ("study=..", ["study=..", "folder", "letters"]),
    "a study without a name": ("study=", ["study=", "folder", "letters"]),
    "a study that is null": ("study=null", ["study", "folder", "letters"]),
    "an output folder that is null": ("output_dir=null", ["output_dir"]),
    "an unknown binarization": ("data.binarize=yes", ["data.binarize=yes", "none", "threshold", "dynamic"]),
    "empty batches": ("data.batch_size=0", ["data.batch_size=0", "1 or more"]),
}


# Hydra reads every metric and sampler from a file of its own.
BRIEF = ("logger=none", "metric=[fid]", "sampler=[prior]")


def wrong(case: str) -> Finished:
    """What a wrong command says, with few metrics and samplers unless the case is about them."""
    words = WRONG[case][0].split(" ")
    brief = [word for word in BRIEF if not any(other.startswith(word.partition("=")[0]) for other in words)]
    return latentbench(*words, *brief)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line_with_what_would_be_right(case: str, in_an_empty_folder: Path) -> None:
    finished = wrong(case)
    line = the_one_line(finished)
    assert [words for words in WRONG[case][1] if words not in line] == [], line
    assert finished.code == 2


@pytest.mark.parametrize("case", ["an unknown method", "a misspelt key", "beta nan", "a study that is a path"])
def test_a_wrong_command_leaves_no_file(case: str, in_an_empty_folder: Path) -> None:
    wrong(case)
    assert list(in_an_empty_folder.rglob("*")) == []


def test_a_sweep_whose_study_is_a_path_leaves_no_file_elsewhere(in_an_empty_folder: Path) -> None:
    kept = in_an_empty_folder / "multirun.yaml"
    kept.write_text("mine")
    finished = latentbench("-m", "study=..", "seed=0,1", *BRIEF)
    assert finished.code == 2
    assert "study=.." in finished.err
    assert "Traceback" not in finished.err
    assert kept.read_text() == "mine"


def test_a_wrong_value_in_a_sweep_is_said_and_the_exit_code_is_2() -> None:
    finished = latentbench("-m", "beta=abc,-1", *BRIEF)
    assert "beta=abc: give a number, 0 or more" in finished.err
    assert "beta=-1: give a number, 0 or more" in finished.err
    assert "Traceback" not in finished.err
    assert finished.code == 2


def test_an_unknown_flag_is_named() -> None:
    finished = latentbench("--nonsense")
    assert finished.code == 2
    assert "--nonsense: there is no such flag" in the_one_line(finished)


def test_a_folder_of_further_options_that_does_not_exist_is_named(tmp_path: Path) -> None:
    finished = latentbench("--config-dir", str(tmp_path / "nowhere"), "seed=1")
    assert f"there is no folder {tmp_path / 'nowhere'}" in the_one_line(finished)
    assert finished.code == 2


@pytest.mark.parametrize(
    ("pair", "fits"),
    [
        ("method=vae posterior=dirac", "take posterior=gaussian"),
        ("method=ae regularizer=kl", "take posterior=gaussian"),
        ("method=ae prior=vamp", "take prior=normal, laplace"),
    ],
)
def test_a_pair_that_cannot_work_is_refused_with_what_would_fit(pair: str, fits: str) -> None:
    finished = latentbench(*pair.split(" "), *BRIEF)
    line = the_one_line(finished)
    assert line.startswith("refused: ")
    assert fits in line
    assert finished.code == 2


@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["one run", "a sweep"])
@pytest.mark.parametrize("below", ["", "sub"], ids=["a file", "a folder below a file"])
def test_an_output_folder_that_cannot_be_written_is_said(mode: list[str], below: str, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("mine")
    finished = latentbench(*mode, f"output_dir={in_the_way / below}", *BRIEF)
    # A sweep's runs have the same trouble one by one.
    lines = [line for line in finished.err.splitlines() if not line.startswith("run ")]
    assert len(lines) == 1, finished.err
    assert "output_dir" in lines[0]
    assert str(in_the_way) in lines[0]
    assert "cannot be written" in lines[0]
    assert finished.code == 2
    assert in_the_way.read_text() == "mine"


def test_missing_data_without_a_network_names_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    finished = latentbench("data=mnist", f"data.root={tmp_path}", DEAD_MIRROR, *BRIEF)
    line = the_one_line(finished)
    for words in ("data=mnist", str(tmp_path / "mnist"), "http://127.0.0.1:9/", "data.root=", "LATENTBENCH_DATA="):
        assert words in line
    assert finished.code == 2
    assert list(tmp_path.rglob("*.gz")) == []


def test_one_mirror_may_be_given_without_brackets(tmp_path: Path) -> None:
    mirror = "http://127.0.0.1:9/"
    finished = latentbench("data=mnist", f"data.root={tmp_path}", f"data.mirrors={mirror}", *BRIEF)
    line = the_one_line(finished)
    assert mirror in line
    assert "MissingSchema" not in line
    assert finished.code == 2


IDX_HEADER = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28])
SPOILT = {
    "truncated": (lambda whole: whole[: len(whole) // 2], "truncated"),
    "altered": (lambda whole: whole, "is not the published file"),
    "empty": (lambda whole: b"", "file"),
    "no gzip file": (gzip.decompress, "truncated or not a gzip file"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_data_file_is_named_and_stays_as_it_is(how: str, tmp_path: Path) -> None:
    spoil, says = SPOILT[how]
    content = spoil(gzip.compress(IDX_HEADER + bytes(range(256)) * 3 + bytes(16)))
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for name in compose_config(["data=fashion_mnist"]).data.sha256:
        (folder / f"{name}.gz").write_bytes(content)
    before = files(tmp_path)
    finished = latentbench("data=fashion_mnist", f"data.root={tmp_path}", DEAD_MIRROR, *BRIEF)
    line = the_one_line(finished)
    assert says in line
    assert re.search(re.escape(str(folder)) + r"/\S+-ubyte\.gz", line)
    assert "fetch it again" in line
    assert finished.code == 2
    assert {name: content for name, content in files(tmp_path).items() if name in before} == before


def test_help_names_every_option_with_its_sentence() -> None:
    finished = latentbench("--help")
    assert (finished.code, finished.err) == (0, "")
    paths = [path for group in GROUPS for path in (CONF_DIR / group).glob("*.yaml")]
    assert len(paths) > 40
    for path in paths:
        assert option_description(path), path
        row = re.compile(rf"^  {path.stem} +{re.escape(option_description(path))}$", re.MULTILINE)
        below = finished.out.split(f"\n{path.parent.name}\n", 1)[1].split("\n\n", 1)[0]
        assert row.search(below), path


def test_help_covers_every_folder_of_options() -> None:
    folders = {path.parent.name for path in CONF_DIR.glob("*/*.yaml")}
    assert folders == set(GROUPS)


def test_help_shows_examples_and_every_value_with_its_meaning() -> None:
    shown = latentbench("-h").out
    for example in ("latentbench method=vae data=mnist", "latentbench -m beta=0.1,1,10", "latentbench-tables sweep="):
        assert example in shown
    for scalar in SCALARS:
        assert re.search(rf"^  {scalar}: \S+ +\w+", shown, re.MULTILINE), scalar


def test_every_example_of_the_help_composes() -> None:
    examples = re.findall(r"^  latentbench(?:-tables)? +(?:-m )?((?:[\w.]+=\S+ ?)+)", latentbench("--help").out, re.M)
    assert len(examples) >= 4
    for example in examples:
        compose_config([override.split(",")[0] for override in example.split()])


def test_help_of_the_tables_names_the_studies() -> None:
    finished = latentbench("--help", program=tables.main)
    assert (finished.code, finished.err) == (0, "")
    for study in (CONF_DIR / "sweep").glob("*.yaml"):
        assert option_description(study) in finished.out


def test_tables_say_what_is_wrong_in_one_line_too(tmp_path: Path) -> None:
    for command, says in {
        "sweep=nonsense": NOT_AN_OPTION,
        "studdy=a": "study",
        "study=a/b": "folder",
        "study=nothing_there": "no records",
    }.items():
        finished = latentbench(*command.split(), program=tables.main)
        assert says in the_one_line(finished)
        assert finished.code == 2


def test_the_composed_config_can_be_shown_without_running(in_an_empty_folder: Path) -> None:
    finished = latentbench("method=wae_mmd", "--cfg", "job")
    assert finished.code == 0
    assert "latentbench.regularizers.maximum_mean_discrepancy" in finished.out
    assert list(in_an_empty_folder.rglob("*")) == []


def test_the_commands_are_installed_under_their_names() -> None:
    points = entry_points(group="console_scripts")
    commands = {point.name: point.load() for point in points if point.name.startswith("latentbench")}
    assert commands["latentbench"] is app.main
    assert commands["latentbench-status"] is status.main
    assert commands["latentbench-tables"] is tables.main
    assert commands["latentbench-report"] is report.main
    assert commands["latentbench-dashboard"] is dashboard.main


@pytest.mark.parametrize("program", [app.main, status.main])
def test_a_study_with_an_empty_grid_runs_nothing(program: Callable[[], Any], in_an_empty_folder: Path) -> None:
    lines = ["# @package _global_", "# Nothing.", "study: empty", "hydra: {mode: MULTIRUN, sweeper: {params: null}}"]
    (in_an_empty_folder / "sweep").mkdir()
    (in_an_empty_folder / "sweep" / "empty.yaml").write_text("\n".join(lines))
    finished = latentbench(f"hydra.searchpath=[file://{in_an_empty_folder}]", "sweep=empty", program=program)
    assert "sweep=empty has an empty grid" in the_one_line(finished)
    assert finished.code == 2
    assert not list(in_an_empty_folder.glob("outputs/*/*"))


ANSWERS_AT_ONCE = {
    "--help": 0,
    "--version": 0,
    "method=wae_mmd --cfg job": 0,
    "method=nonsense": 2,
    "latentsize=3": 2,
    "seed=-1": 2,
    "-m sweep=quick beta=abc": 2,
}
# Each command in a process of its own, forked from one that has imported the command alone.
EACH_IN_A_FORK = """
import os, sys
from latentbench.cli.app import main

for command in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.argv[1:] = command.split()
        try:
            sys.exit(main())
        finally:
            slow = {"torch", "pytorch_lightning", "wandb", "numpy"} & set(sys.modules)
            print(f"{command}: {sorted(slow)}", file=sys.stderr)
    print(f"{command}: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", file=sys.stderr)
"""


def test_what_trains_nothing_imports_nothing_that_is_slow() -> None:
    command = [sys.executable, "-c", EACH_IN_A_FORK, *ANSWERS_AT_ONCE]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in finished.stderr.splitlines() if line.rpartition(": ")[0] in ANSWERS_AT_ONCE]
    assert said == [f"{command}: {last}" for command, code in ANSWERS_AT_ONCE.items() for last in ("[]", code)]


def test_help_of_commands_on_stored_runs_imports_nothing_that_is_slow() -> None:
    script = (
        "import sys; from latentbench.cli import evaluate, log, sample\n"
        "for module in (evaluate, log, sample): assert module.main(['--help']) == 0\n"
        "assert sample.main(['a', 'b']) == sample.main(['a', 'n=x']) == sample.main(['a', 'm=1']) == 2\n"
        "print(sorted({'torch', 'pytorch_lightning', 'wandb', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.stderr.splitlines() == [
        "latentbench-sample: name one run folder, such as outputs/adhoc/vae-digits-d8-b1-s0-1a2b3c4d",
        "latentbench-sample: n=x: give a whole number, 1 or more",
        "latentbench-sample: m: there is no such key; the keys are n, sampler, seed, out",
        "[]",
    ]
    assert [line.partition(":")[0] for line in finished.stdout.splitlines() if line.startswith("latentbench-")] == [
        "latentbench-evaluate", "latentbench-log", "latentbench-sample",
    ]  # fmt: skip


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "latentbench", "beta=-1", "logger=none"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.stdout == ""
    assert finished.stderr.splitlines() == [the_one_line(latentbench("beta=-1", "logger=none"))]
    assert finished.returncode == 2


def test_a_folder_with_an_equals_sign_in_its_path_is_a_folder(in_an_empty_folder: Path) -> None:
    Path("lr=1/run").mkdir(parents=True)
    Path("seed=0").mkdir()
    folders, words = folders_and_words(["lr=1/run", "plain", "seed=0", "data.root=lr=1/run", "-m"])
    assert (folders, words) == (["lr=1/run", "plain"], ["seed=0", "data.root=lr=1/run", "-m"])


def test_logging_nothing_is_said() -> None:
    command = latentbench("study=mine", "logger=none", program=log.main)
    assert command.code == 2
    assert "logger=none logs nothing" in the_one_line(command)

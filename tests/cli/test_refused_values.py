"""What Hydra takes and nobody means is refused in one line, or read as meant; what every command has in common."""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Finished, latentbench, the_one_line
from latentbench import __version__, cli
from latentbench.cli import app, dashboard, report, status, tables
from latentbench.cli.command import run_command
from latentbench.cli.jobs import compose_jobs
from latentbench.configuration.compose import compose_config
from latentbench.configuration.folders import VARIABLE, take_folders
from latentbench.configuration.overrides import translate
from latentbench.errors import UserError
from latentbench.running import run
from latentbench.running.job import resolve

REFUSED_WORDS = {
    "method=[vae,ae]": "a run has one method; -m method=vae,ae makes one of each",
    "data=[digits,mnist]": "a run has one data; -m data=digits,mnist makes one of each",
    "sweep=[quick,beta]": "a run has one sweep; -m sweep=quick,beta makes one of each",
    "prior=[laplace]": "a run has one prior; choose one of categorical, flow, hypersphere, laplace",
    "features=null": "choose some of auto, classifier",
    "data=null": "choose one of arrays",
    "trainer=null": "choose one of ddp, default",
    "logger=null": "choose one of none, wandb",
    "prior=5": "choose one of categorical",
    "metric=[fid,null]": "choose some of active_units",
    "prior={components: 3}": "give the keys one by one, such as prior.<key>=<value>",
    "+prior=laplace": "leave out the +",
}


@pytest.fixture(autouse=True)
def no_folders_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets is taken back after it."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.parametrize("word", REFUSED_WORDS)
def test_a_group_takes_one_option(word: str) -> None:
    with pytest.raises(UserError) as refused:
        translate(["seed=1", word])
    assert str(refused.value).startswith(f"{word}: {REFUSED_WORDS[word]}"), refused.value


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("prior=null", "~prior"),
        ("prior=laplace prior=null", "~prior"),
        ("prior=null prior=laplace", "prior=laplace"),
        ("metric=null", "metric=[]"),
        ("metric=[fid] +metric=[dci]", "metric=[fid] +metric=[dci]"),
        ("method=vae,ae", "method=vae,ae"),
        ("study=2024", "study='2024'"),
        ("study=2024,1.10", "study='2024','1.10'"),
        ("study=größe", "study='größe'"),
        ("study='größe'", "study='größe'"),
        ("study=null", "study=null"),
        ("seed=0,1", "seed=0,1"),
        ("output_dir=~/o", "output_dir='~/o'"),
        ("data.root=/tmp/a#b", "data.root='/tmp/a#b'"),
        ("trainer.precision=32-true", "trainer.precision=32-true"),
        ("--config-dir=/tmp/größe", "--config-dir=/tmp/größe"),
    ],
)
def test_words_are_put_as_hydra_reads_them(words: str, meant: str) -> None:
    assert " ".join(translate(words.split(" "))) == meant
    assert " ".join(translate(meant.split(" "))) == meant


REFUSED_CONFIGS = {
    "++latentsize=3": "latentsize: there is no such key; did you mean latent_size?",
    "+thread=2": "thread: there is no such key; did you mean threads?",
    "+foo.bar=1": "foo: there is no such key; the keys are: method, data",
    "+table.colums=[]": "table.colums: there is no such key; did you mean table.columns?",
    "~beta": "~beta: every run has beta: set it instead",
    "~data": "data is missing; choose one of arrays",
    "+metric.foo.samples=2": "metric.foo has no class (`_target_`): name one in its YAML, or choose some of active",
    "features=[]": "features is missing; choose some of auto, classifier",
    "metric.nll=3": "metric.nll has no class",
    "measure_against=[test,train]": "measure_against=['test', 'train']: choose some of test, validation",
    "measure_against=null": "measure_against=None: choose some of test, validation",
    "sampler.prior=null": "sampler.prior has no class",
    "study=[größe": "study=[größe: this needs quotes of its own",
}


@pytest.mark.parametrize("word", REFUSED_CONFIGS)
def test_a_key_that_nothing_reads_is_an_error(word: str) -> None:
    few = [each for each in ("metric=[fid]", "sampler=[prior]") if each.partition("=")[0] not in word]
    finished = latentbench(word, *few, program=status.main)
    assert the_one_line(finished).startswith(f"latentbench-status: {REFUSED_CONFIGS[word]}")
    assert finished.code == 2


@pytest.mark.parametrize("program", [app.main, status.main, tables.main, report.main, dashboard.main])
@pytest.mark.parametrize("words", ["method=[vae,ae]", "+foo.bar=1"])
def test_every_command_refuses_them(program: Callable[[], Any], words: str) -> None:
    finished = latentbench(words, program=program)
    assert f"{words.lstrip('+').split('.')[0]}: " in the_one_line(finished)
    assert finished.code == 2


def test_the_config_of_a_list_is_not_shown() -> None:
    finished = latentbench("method=[vae,ae]", "--cfg", "job")
    assert "-m method=vae,ae" in the_one_line(finished)
    assert finished.code == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "lists",
            "# @package _global_\ndefaults:\n  - override /prior: [normal, laplace]",
            "prior: a run has one prior",
        ),
        ("misspells", "# @package _global_\nlatentsize: 3", "latentsize: there is no such key"),
        ("lacks_its_first_line", "beta: 4.0", "must begin with the line `# @package _global_`"),
    ],
)
def test_a_method_of_ones_own_is_checked_too(name: str, content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / f"{name}.yaml").write_text(content)
    with pytest.raises(UserError, match=says):
        compose_jobs(take_folders(["--config-dir", str(tmp_path), f"method={name}"]))


def test_an_option_of_ones_own_may_have_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "own.yaml").write_text("_target_: somewhere.Prior\nwidth: 3")
    (job,) = compose_jobs(take_folders(["--config-dir", str(tmp_path), "prior=own", "prior.width=4"]))
    assert job.config.prior.width == 4


def test_a_part_that_the_model_needs_cannot_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "fit", lambda *_, **__: pytest.fail("this must not train"))
    finished = latentbench("prior=null", "logger=none", f"output_dir={tmp_path}")
    assert the_one_line(finished).startswith("refused: prior=null: Autoencoder needs one; choose one of categorical")
    assert finished.code == 2


def test_the_version_is_ours_wherever_the_flag_stands() -> None:
    for words in (["--version"], ["method=vae", "--version"], ["--version", "--cfg", "job"], ["--version", "nonsense"]):
        assert latentbench(*words) == Finished(0, f"latentbench {__version__}\n", "")


def test_windows_is_told_where_the_commands_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        importlib.reload(cli)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("latentbench runs on Linux and macOS; on Windows")


@pytest.mark.parametrize("buffering", [1, -1])
@pytest.mark.parametrize(
    ("program", "words"),
    [
        (app.main, ["--help"]),
        (app.main, ["--version"]),
        (app.main, ["--cfg", "job"]),
        (status.main, ["seed=0"]),
        (tables.main, ["--help"]),
        (report.main, ["--help"]),
        (dashboard.main, ["sweep=quick", "--dry-run"]),
    ],
)
def test_output_that_nobody_reads_is_no_error(program: Callable[[], Any], words: list[str], buffering: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    def with_a_closed_pipe() -> Any:
        with open(writer, "w", buffering) as pipe, contextlib.redirect_stdout(pipe):
            return program()

    finished = latentbench(*words, program=with_a_closed_pipe)
    assert (finished.code, finished.err) == (0, "")


def test_an_error_of_another_pipe_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def work(arguments: list[str]) -> None:
        raise BrokenPipeError("a server ended")

    reader, writer = os.pipe()
    with open(reader), open(writer, "w") as pipe, contextlib.redirect_stdout(pipe):
        assert run_command("latentbench-tables", work, [], help_text=None) == 2
    assert capsys.readouterr().err == "latentbench-tables: a server ended\n"


def test_wandb_is_told_where_runs_go_by_its_own_variables_unless_the_command_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def where(*words: str) -> tuple[Any, Any]:
        logger = compose_jobs(words)[0].config.logger
        return logger.project, logger.entity

    for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    assert where() == ("latentbench", None)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    job = compose_jobs([])[0]
    assert where("logger.project=mine") == ("mine", "team")
    monkeypatch.setenv("WANDB_PROJECT", "another")  # as on another machine
    assert job.config.logger.project == "theirs"


def test_what_may_be_left_out_is_null() -> None:
    (job,) = compose_jobs(["method=gan", "likelihood=null", "regularizer=null", "sweep=null", "metric=null"])
    resolved = resolve(job)
    assert (resolved.choices["likelihood"], resolved.choices["sweep"], resolved.choices["metric"]) == (None, None, [])
    assert compose_config(["method=null"]).hydra.runtime.choices.get("method") is None


def test_one_option_and_a_list_of_it_are_the_same() -> None:
    (one,), (several,) = (
        compose_jobs(["sampler=gmm", "metric=nll"]),
        compose_jobs(["sampler=[gmm,gmm]", "metric=[nll]"]),
    )
    assert (one.config.sampler, one.config.metric) == (several.config.sampler, several.config.metric)


def test_a_group_that_is_left_out_is_not_varied_by_a_study() -> None:
    jobs = compose_jobs(["-m", "sweep=quick", "method=null", "regularizer=l2", "posterior=dirac"])
    assert [job.config.seed for job in jobs] == list(range(10))


def test_a_study_may_have_a_number_or_any_letters_as_its_name(tmp_path: Path) -> None:
    jobs = compose_jobs(["-m", "study=2024,1.10,größe"])
    assert [resolve(job).folder.parent.name for job in jobs] == ["2024", "1.10", "größe"]
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "year.yaml").write_text("# @package _global_\nstudy: 2024")
    (job,) = compose_jobs(take_folders(["--config-dir", str(tmp_path), "sweep=year"]))
    assert job.config.study == "2024"


def test_the_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "options").mkdir()
    words = ["--config-dir", "~/options", "output_dir=~/o", "data=mnist", "data.root=~/d", "features=inception"]
    (job,) = compose_jobs(take_folders([*words, "features.inception.weights=~/w", "launcher=slurm"]))
    assert resolve(job).folder.parent == tmp_path / "o" / "adhoc"
    assert job.config.launcher.folder == f"{tmp_path}/o/adhoc/slurm"
    assert (job.config.data.root, job.config.features.inception.weights) == (f"{tmp_path}/d", f"{tmp_path}/w")
    assert compose_config(["+to=~/t"]).to == f"{tmp_path}/t"
    with pytest.raises(UserError, match="output_dir=~nobody-of-this-name/o: the system knows no such home folder"):
        compose_config(["output_dir=~nobody-of-this-name/o"])

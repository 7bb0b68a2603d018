"""`latentbench-tune`: searches the settings of one method with Optuna, apart from every comparison."""

import contextlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.cli.command import run_command
from latentbench.configuration.folders import VARIABLE
from latentbench.configuration.search import DIGITS
from latentbench.errors import Diverged, Refused, UserError

if TYPE_CHECKING:
    from latentbench.running.job import Job

HELP = """latentbench-tune: searches the settings of one method with Optuna.

Usage:
  latentbench-tune method=vae study=mine n=50                              by fid/prior@validation
  latentbench-tune method=wae_mmd study=mine n=50 data=mnist select=nll/validation
  latentbench-tune method=vae study=mine n=50 'search.beta={low: 1, high: 10, scale: log}'

n        trials in all; the same command goes on where it was, and with a larger n it searches further
select   the key of the number to improve, measured against validation images
study    its runs are in <output_dir>/<study>, and Optuna's storage, optuna.db, beside them; of one method, one data set
         and one select

Searches what the method's YAML has under `search` (docs/tuning.md), by Optuna's TPE. Where that is settings of the
training alone, one whose validation loss falls behind that of most trials is ended. The same command in several shells
shares the trials.
This is for a method of your own choice: methods are compared by `latentbench -m sweep=tuned`, which gives all the same
trials. Needs `pip install 'latentbench[optuna]'`.
"""
OWN_KEYS = ("n", "select")
DEFAULT_RULE = "fid/prior@validation"
STORAGE, STUDY = "optuna.db", "latentbench"  # the file, and the only study in it
LOCKS = "optuna.locks"  # folder of a file for each trial, locked while a command has it
FIRST_TRIALS = 10  # at random, before TPE has something to learn from
SHOWN = 5  # best trials
FRESH_SEEDS = 3  # of the best settings
SEARCHED = "searched"  # what Optuna keeps of the study: all that its trials have in common
# What Optuna keeps of a trial: the folder of its run, its settings, and its number, since it always minimizes.
FOLDER, WORDS, NUMBER = "folder", "words", "number"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command cannot be used; 1: no trial has a number."""
    return run_command("latentbench-tune", _tune, arguments, help_text=HELP)


def _tune(arguments: list[str]) -> int:
    try:
        import optuna
    except ImportError as error:
        raise UserError("latentbench-tune needs optuna: pip install 'latentbench[optuna]'") from error
    from latentbench.cli.tune_checks import check_measured, check_same_search, common_settings
    from latentbench.configuration.search import check_free, ranges_of
    from latentbench.evaluation.build import build_data, build_seeded_model
    from latentbench.records.tuning import check_rule
    from latentbench.running.job import resolve
    from latentbench.running.logging_setup import ignore_known_warnings, set_up_logging

    own = {key: value for key, _, value in (word.partition("=") for word in arguments) if key in OWN_KEYS}
    if not own.get("n", "").isdigit():
        raise UserError("n: give the number of trials, such as n=50")
    rule = own.get("select", DEFAULT_RULE)
    check_rule(rule, "select")
    job = _composed([word for word in arguments if word.partition("=")[0] not in OWN_KEYS])
    ranges = ranges_of(job.config.search)
    if not ranges:
        raise UserError("the method does not say what may be tuned: give its YAML a `search` (docs/tuning.md)")
    instead = "its range, by ~search.<key>"
    check_free(ranges, job.config, job.overrides, job.options, by="the search", instead=instead)
    first = resolve(job)
    check_measured(rule, first.config)
    folder = Path(job.config.output_dir) / job.config.study
    folder.mkdir(parents=True, exist_ok=True)
    set_up_logging()
    ignore_known_warnings()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=STUDY,
        storage=_storage(folder),
        sampler=optuna.samplers.TPESampler(n_startup_trials=FIRST_TRIALS, constant_liar=True),
        load_if_exists=True,
    )
    searched = common_settings(first, ranges, rule)
    check_same_search(study.user_attrs.get(SEARCHED, {}), searched, job.config.study)
    if not study.trials:  # what cannot be built is refused once, and not in every trial
        if first.refusal:
            raise UserError(first.refusal)
        build_seeded_model(first.config, build_data(first.config))
    study.set_user_attr(SEARCHED, searched)
    while sum(trial.state.is_finished() for trial in study.trials) < int(own["n"]):
        with contextlib.ExitStack() as locks:
            _try(study, _next_trial(study, folder / LOCKS, locks), job, ranges, rule)
    return _tell_best(study, job)


def _composed(words: list[str]) -> "Job":
    """The run that trials are made of. Raises: UserError if these are several runs, or a study."""
    from latentbench.cli.jobs import MULTIRUN_FLAGS, compose_jobs
    from latentbench.running.data_parallel import STRATEGY

    keys = {word.partition("=")[0] for word in words}
    for key in {"sweep", "trial", "measure_against", *MULTIRUN_FLAGS} & keys:
        raise UserError(f"{key}: leave it out: this command tunes one method, by validation images")
    if "study" not in keys:
        raise UserError("study: name the study of these trials, such as study=mine")
    (job,) = compose_jobs([*words, "measure_against=[validation]"])
    if job.config.trainer.get("strategy") == STRATEGY:
        raise UserError("trainer=ddp: leave it out: a trial uses one device; start the command once for each")
    return job


def _storage(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / STORAGE}"


def _next_trial(study: Any, folder: Path, locks: contextlib.ExitStack) -> Any:
    """A trial whose process has died, or else a new one; no other command takes it until `locks` are released.

    folder: where the lock files are
    """
    import optuna

    from latentbench.running.locks import try_lock

    def running() -> dict[int, int]:
        """The numbers of trials that have not ended, and what Optuna knows them by."""
        trials = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        return {trial.number: trial._trial_id for trial in trials}

    folder.mkdir(exist_ok=True)
    with try_lock(folder / "next", timeout=-1):  # a trial is locked before another command looks for one
        for number, trial_id in running().items():
            is_free = locks.enter_context(try_lock(folder / str(number)))
            if is_free and number in running():  # its command may have ended it just now
                return optuna.trial.Trial(study, trial_id)
        trial = study.ask()
        locks.enter_context(try_lock(folder / str(trial.number)))
    return trial


def _try(study: Any, trial: Any, job: "Job", ranges: Mapping[str, Any], rule: str) -> None:
    """Run a trial, and tell Optuna its number; less is better there."""
    import optuna
    from omegaconf import OmegaConf

    from latentbench.cli.pruning import Pruned
    from latentbench.configuration.copying import copy_of
    from latentbench.configuration.search import set_values
    from latentbench.records.record import FILE_NAME, load
    from latentbench.records.tuning import direction
    from latentbench.running.job import resolve
    from latentbench.running.run import run

    values = {key: _suggested(trial, key, of_key) for key, of_key in ranges.items()}
    config = copy_of(job.config)
    set_values(config, values)
    if all(map(is_of_the_training, values)):
        config.logger = OmegaConf.create(
            {
                "_target_": "latentbench.cli.pruning.PruningLogger",
                "storage": _storage(Path(config.output_dir) / config.study),
                "study": STUDY,
                "trial": trial._trial_id,
                "shown": config.logger,
            }
        )
    words = [f"{key}={_text(OmegaConf.select(config, key))}" for key in values]
    one = job._replace(config=config, overrides=[*job.overrides, *words])
    folder = resolve(one).folder
    trial.set_user_attr(FOLDER, str(folder))
    trial.set_user_attr(WORDS, words)
    print(f"trial {trial.number}: {' '.join(words)}", flush=True)
    try:
        outcome = run(one)
    except Pruned as why:
        print(f"trial {trial.number}: ended: {why}")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except (Refused, Diverged) as why:
        print(f"trial {trial.number}: no number: {why}")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        if outcome == "locked by another process":
            return
        record = load(folder / FILE_NAME)
        if rule not in record.metrics:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if rule not in record.skipped:
                found = ", ".join(sorted(record.metrics))
                raise UserError(f"select={rule}: the trial has no such number; choose from {found}")
            print(f"trial {trial.number}: no number: {record.skipped[rule]}")
            return
        trial.set_user_attr(NUMBER, record.metrics[rule])
        study.tell(trial, -direction([record], rule) * record.metrics[rule])
        print(f"trial {trial.number}: {rule} {record.metrics[rule]:.4g}")


def is_of_the_training(key: str) -> bool:
    """Whether a setting leaves the loss as it is, so that the losses of trials compare; a weight does not."""
    return key.startswith(("model.", "optimizer.", "schedule."))


def _suggested(trial: Any, key: str, of_key: Mapping[str, Any]) -> Any:
    """What Optuna suggests for a key, within its range; numbers have as many digits as those of `trial=k`."""
    if "values" in of_key:
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in of_key["values"]]))
    value = trial.suggest_float(key, of_key["low"], of_key["high"], log=of_key["scale"] == "log")
    return float(f"{value:.{DIGITS}g}")


def _text(value: Any) -> str:
    """A value in Hydra's grammar."""
    return json.dumps(value) if isinstance(value, str) else str(value).replace(" ", "")


def _tell_best(study: Any, job: "Job") -> int:
    """Print the best trials, and the command for runs of the best one with fresh seeds."""
    done = [trial for trial in study.trials if trial.value is not None and trial.state.name == "COMPLETE"]
    counts = Counter(trial.state.name.lower() for trial in study.trials)
    print(f"\n{', '.join(f'{n} {state}' for state, n in counts.items())}; the best:")
    best = sorted(done, key=lambda trial: trial.value)[:SHOWN]
    for trial in best:
        print(f"  trial {trial.number}: {trial.user_attrs[NUMBER]:.4g}: {' '.join(trial.user_attrs[WORDS])}")
    if not best:
        return 1
    folders = [f"--config-dir={folder}" for folder in os.environ.get(VARIABLE, "").splitlines()]
    words = [word for word in job.overrides if not word.startswith(("seed=", "measure_against="))]
    fresh = [str(seed) for seed in range(FRESH_SEEDS + 1) if seed != job.config.seed][:FRESH_SEEDS]
    words += [*best[0].user_attrs[WORDS], f"seed={','.join(fresh)}"]
    print(f"\nwith fresh seeds, against test images:\n  latentbench -m {shlex.join([*folders, *words])}")
    return 0

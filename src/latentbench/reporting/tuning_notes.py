"""What is said of tuning below the table of a study that tunes."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from latentbench.records.keys import against_test
from latentbench.reporting.tuned import EDGE, PRESET, Choice, Tuned

ENOUGH = 5  # fresh runs; with fewer, one more run of the same kind is often better than all of them


def notes(tuned: Tuned) -> list[str]:
    """What was chosen, from how many trials and how long they took, and what to be careful with."""
    tune, choices = tuned.tune, tuned.choices
    lines = [
        f"tuned: by {tuned.rule}, the best of {tune.trials} trials and of the method as it is ({PRESET}), with seed "
        f"{', '.join(map(str, tune.seeds))}; the table's runs have other seeds. The choice saw no test image. "
        "Figures show tuned rows"
    ]
    chosen = [choice for choice in choices if choice.trial]
    if chosen:
        texts = [f"{choice.name}: trial {choice.trial} ({choice.text(choice.facts)})" for choice in chosen]
        lines.append(f"chosen settings: {'; '.join(texts)}")
    if choices:
        seconds = [choice.seconds for choice in choices]
        lines.append(f"seconds of all trials of a row: {min(seconds):.0f} to {max(seconds):.0f}")
    if edges := [f"{choice.name} ({choice.text(choice.at_edge)})" for choice in chosen if choice.at_edge]:
        lines.append(
            f"caveat: chosen at the edge of a range (within {EDGE:.0%} of its end): {'; '.join(edges)}: there may be "
            "better settings beyond it"
        )
    key = against_test(tuned.rule)
    if lucky := list(_lucky(choices)):
        lines.append(
            f"caveat: chosen by a number that no fresh run reaches, so in part by its seed ({tuned.rule} of the chosen "
            f"trial; {key} of fresh runs): {'; '.join(lucky)}"
        )
    if no_better := list(_no_better(chosen)):
        lines.append(f"tuned is no better than {PRESET} ({key}, means of fresh runs): {'; '.join(no_better)}")
    if names := [choice.name for choice in choices if choice.trial == 0]:
        lines.append(f"no trial was better than the method as it is: {'; '.join(names)}")
    if lost := [f"{choice.name}: {text}" for choice in choices if choice.is_spent and (text := _lost(choice))]:
        lines.append(f"trials that were spent without a number: {'; '.join(lost)}")
    if names := [choice.name for choice in choices if not choice.is_spent]:
        lines.append(f"nothing is chosen yet of {'; '.join(names)}: not all trials are spent")
    if tuned.n_outdated:
        lines.append(f"left out: {tuned.n_outdated} runs of trials that are not chosen, or not any more")
    return lines + tuned.repeats


def _lost(choice: Choice) -> str:
    runs = [run for trial, of_trial in choice.trials.items() if trial not in choice.scores for run in of_trial]
    counts = Counter("without it" if run.status == "finished" else run.status for run in runs)
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))


def _lucky(choices: Sequence[Choice]) -> Iterator[str]:
    for choice in choices:
        if choice.trial is None or len(fresh := choice.fresh.get(choice.trial, [])) < ENOUGH:
            continue
        number = choice.scores[choice.trial]
        if choice.sign * number > max(choice.sign * each for each in fresh):
            yield f"{choice.name} ({number:.4g}; {min(fresh):.4g} to {max(fresh):.4g})"


def _no_better(chosen: Sequence[Choice]) -> Iterator[str]:
    for choice in chosen:
        if choice.trial in choice.fresh and 0 in choice.fresh:
            tuned, preset = (statistics.fmean(choice.fresh[trial]) for trial in (choice.trial, 0))
            if choice.sign * tuned <= choice.sign * preset:
                yield f"{choice.name} ({tuned:.4g}; {preset:.4g})"

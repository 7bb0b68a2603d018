"""Notes below a table about the trainings of its runs: what they were given, and what became of them."""

import math
import statistics
from collections.abc import Sequence

from latentbench.records.keys import floor_key
from latentbench.records.record import Record
from latentbench.reporting.formats import PLUS_MINUS
from latentbench.reporting.significance import mean_interval
from latentbench.reporting.summary import Row, Summary, join_rows

ACTIVE_UNITS = "active_units/test"
MAKERS = ("model", "generator")  # the players that make the images
COPIES = 0.1  # the least share of copies that is told


def training_notes(summary: Summary) -> list[str]:
    """All of them."""
    return (
        budgets(summary) + weights_of_other_likelihoods(summary) + not_converged(summary)
        + collapsed(summary) + near_copies(summary)
    )  # fmt: skip


def budgets(summary: Summary) -> list[str]:
    """What every row was given to train with: images, steps of each player, seconds; what differs is told by row."""
    images: dict[str, list[str]] = {}
    steps: dict[str, dict[str, list[str]]] = {}
    seconds: list[float] = []
    parameters: list[int] = []
    for row in summary.rows:
        runs = [run for run in row.finished if "steps" in (run.config.get("resolved") or {})]
        if not runs:
            continue
        images.setdefault(_range([_images_seen(run) for run in runs]), []).append(row.label)
        players = {player for run in runs for player in run.config["resolved"]["steps"]}
        for player in sorted(players, key=lambda name: (name not in MAKERS, name)):
            role = "model or generator" if player in MAKERS else player
            numbers = _range([run.config["resolved"]["steps"].get(player, 0) for run in runs])
            steps.setdefault(role, {}).setdefault(numbers, []).append(row.label)
        parameters += [run.n_parameters or 0 for run in runs]
        seconds += [run.seconds["fit"] for run in runs if "fit" in run.seconds]
    if not images:
        return []
    parts = [f"images seen in training: {_by_row(images, summary.rows)}"]
    parts += [f"steps of the {player}: {_by_row(of_player, summary.rows)}" for player, of_player in steps.items()]
    if seconds:
        parts.append(f"seconds of training: {min(seconds):.0f} to {max(seconds):.0f}")
    parts.append(f"parameters, critics included: {min(parameters):,} to {max(parameters):,}")
    return [f"budget: {'; '.join(parts)}"]


def _images_seen(run: Record) -> int:
    """Each image counts as often as it was in a batch."""
    facts, asked = run.config["resolved"], run.config.get("trainer") or {}
    epochs = facts.get("ran", {}).get("epochs", asked.get("max_epochs") or 0)
    limit = asked.get("limit_train_batches")
    limited = limit * run.config["data"]["batch_size"] if isinstance(limit, int) else facts["train_images"]
    return int(epochs * min(facts["train_images"], limited))


def _range(numbers: Sequence[int]) -> str:
    """Of all seeds: a patience may end them at different epochs."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _by_row(labels: dict[str, list[str]], rows: Sequence[Row]) -> str:
    """What most rows have, and what others have instead."""
    usual = max(labels, key=lambda value: len(labels[value]))
    others = [f"{value} of {join_rows(of_value, rows)}" for value, of_value in labels.items() if value != usual]
    return ", ".join([usual, *others])


def not_converged(summary: Summary) -> list[str]:
    """The rows with a run whose validation loss was still falling in the end, by how much; those that cannot tell.

    And the schedules of learning rates under which a loss that no longer falls says little.
    """
    falling: dict[Row, list[float]] = {}
    unknown: dict[str, None] = {}
    schedules: dict[str, None] = {}
    for row in summary.rows:
        for run in row.finished:
            fact = (run.config.get("resolved") or {}).get("convergence")
            if fact and (fact["converged"] is None or _has_a_changing_loss(run)):
                unknown[row.label] = None
            elif fact and not fact["converged"]:
                falling.setdefault(row, []).append(fact["falling"])
            elif fact and (schedule := run.choices.get("schedule", "constant")) != "constant":
                schedules[schedule] = None
    notes = []
    if unknown:
        notes.append(
            f"cannot be told whether it had converged: {'; '.join(unknown)}: fewer than ten epochs, a validation loss "
            "that was never below that of the first one, or one that means something else in every epoch, since the "
            "weight changes or a critic learns"
        )
    if falling:
        listed = [f"{row.label} ({max(falls):.2g}; {len(falls)} of {row.seeds})" for row, falls in falling.items()]
        notes.append(
            f"not converged: {'; '.join(listed)}: the validation loss still fell by so much, in its own units per 10 % "
            "of the training, the most of all seeds, and in so many seeds by more than 1 % of its whole fall: more "
            "epochs would change these runs"
        )
    notes += [
        f"schedule={schedule}: where the learning rate falls, the loss stops falling, whatever is left to learn: more "
        "epochs may change rows that are not named as not converged, too"
        for schedule in schedules
    ]
    return notes


def _has_a_changing_loss(run: Record) -> bool:
    steps = (run.config.get("resolved") or {}).get("steps") or {}
    return run.choices.get("annealing", "constant") not in ("constant", None) or "critic" in steps


def weights_of_other_likelihoods(summary: Summary) -> list[str]:
    """A line for all rows whose weight is the paper's, and whose likelihood is not the one it was published for."""
    labels: dict[str, dict[str, None]] = {}
    for row in summary.rows:
        for run in row.runs:
            if caveat := (run.config.get("resolved") or {}).get("weight_caveat"):
                labels.setdefault(caveat, {})[row.label] = None
    return [f"caveat: {join_rows(of_caveat, summary.rows)}: {caveat}" for caveat, of_caveat in labels.items()]


def collapsed(summary: Summary) -> list[str]:
    """The rows with a run without an active unit, and in how many seeds."""
    counts = {row: sum(run.metrics.get(ACTIVE_UNITS) == 0 for run in row.finished) for row in summary.rows}
    listed = [f"{row.label} ({n} of {row.seeds})" for row, n in counts.items() if n]
    if not listed:
        return []
    return [
        f"caveat: {'; '.join(listed)}: a model with no active latent unit, in so many seeds: codes of images vary by "
        "0.01 (variance) at most in each coordinate. If its rate is near 0 too (posterior collapse), reconstructions "
        "and samples are nearly all the same"
    ]


def near_copies(summary: Summary) -> list[str]:
    """The rows whose images are as near to training images as if a share of them were copies, and these shares.

    share = (floor - ratio) N / M, with the ratio of distances to the nearest of M among N training images, and of M
    held-out images: it falls from the floor by M / N if all images are copies (docs/metrics.md, `memorization`). All
    seeds share these M and M images, so that the error of a run counts beside the interval over seeds.
    """
    notes = []
    for key in (column.key for column in summary.columns if column.key.startswith("memorization/")):
        found: dict[str, tuple[float, float]] = {}
        for row in summary.rows:
            if not (shares := [share for run in row.finished for share in _share_of_copies(run, key)]):
                continue
            mean, interval, n = mean_interval([share for share, _ in shares])
            error = math.hypot(interval if n > 1 else 0.0, statistics.mean(error for _, error in shares))
            if mean >= COPIES and mean > error:
                found[row.label] = mean, error
        if found:
            listed = [
                f"{label} ({100 * share:.0f} {PLUS_MINUS} {error:.0%})"
                for label, (share, error) in sorted(found.items(), key=lambda item: -item[1][0])
            ]
            notes.append(
                f"caveat: {'; '.join(listed)}: by {key}, as near to training images as if so many of the images were "
                "copies of them. FID, KID, precision and coverage take copies for good samples"
            )
    return notes


def _share_of_copies(run: Record, key: str) -> list[tuple[float, float]]:
    """The share, and two standard errors of it; nothing if the run lacks a number."""
    facts, keys = run.config.get("resolved") or {}, (floor_key(key), key)
    if "images_per_set" not in facts or any(each not in run.standard_errors for each in keys):
        return []
    scale = facts["train_images"] / min(facts["images_per_set"], facts["train_images"])
    real, ratio = (run.metrics[each] for each in keys)
    return [((real - ratio) * scale, 2 * math.hypot(*(run.standard_errors[each] for each in keys)) * scale)]

"""Runs the contracts of a group on one option, whoever wrote it."""

import os

import pytest

from latentbench.contracts import CHECKED

# The tests of a group beside those of every option. A part is tested with latentbench's own options of other groups.
PAIRING = "pairing"
TESTS = {
    "data": ["data_set"],
    "backbone": ["backbone", "method.py::test_two_batches_train_it_unless_it_says_what_else_to_take"],
    "posterior": ["posterior", PAIRING],
    "prior": ["prior", PAIRING],
    "regularizer": ["regularizer", PAIRING],
    "annealing": ["annealing", "objective"],
    "features": ["feature"],
} | {group: [group] for group in ("likelihood", "objective", "method", "sampler", "metric", "sweep")}


def passes(group: str, option: str) -> bool:
    """Whether an option passes all its contracts; pytest prints which it does not, and why."""
    CHECKED[group] = option
    folder = os.path.dirname(__file__)
    files = [f"{folder}/test_every_{name}" for name in ("option", *TESTS.get(group, ()))]
    tests = [name if "::" in name else f"{name}.py" for name in files]
    # Without the settings of a project around the working directory.
    settings = ["-c", os.devnull, f"--rootdir={folder}", "-p", "no:cacheprovider"]
    return pytest.main([*settings, "--quiet", "--tb=short", "--disable-warnings", *tests]) == 0

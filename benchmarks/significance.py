"""How often tests of a column against its baseline are wrong and right: writes the tables of docs/statistics.md anew.

    python benchmarks/significance.py             # a quarter of an hour
    python benchmarks/significance.py published   # that of the published records alone

By simulation with normal numbers, and from the published records.
"""

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from tabulate import tabulate

from latentbench.configuration.compose import compose_config
from latentbench.records.store import load_records
from latentbench.reporting.columns import Measures, choose_columns
from latentbench.reporting.grouping import group_runs
from latentbench.reporting.significance import LEVEL, Difference, difference, fit_spread, holm

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "statistics.md"
COLUMNS = 1000  # simulated columns of each kind
SHIFT = 6.0  # of the one row that differs, in standard errors of its difference from the baseline

Rows = NDArray[np.float64]  # (rows, seeds); the first row is the baseline

# Kind of column -> the variance of each row.
SCATTER: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "equal variances": lambda random, n: np.ones(n),
    "variances scattered a little": lambda random, n: 4 / random.chisquare(4, n),
    "variances scattered widely": lambda random, n: 1 / random.chisquare(1, n),
    "log-normal variances": lambda random, n: np.exp(random.normal(0, 2, n)),
    "a fifth of the rows 100 times noisier": lambda random, n: np.where(random.random(n) < 0.2, 1e4, 1.0),
    "one row 3 times noisier": lambda random, n: np.array([1.0, 1.0, 9.0, *np.ones(n - 3)]),
    "one row 10 times noisier": lambda random, n: np.array([1.0, 1.0, 100.0, *np.ones(n - 3)]),
    "baseline 3 times noisier": lambda random, n: np.array([9.0, *np.ones(n - 1)]),
    "baseline 10 times noisier": lambda random, n: np.array([100.0, *np.ones(n - 1)]),
    "baseline 10 times quieter": lambda random, n: np.array([0.01, *np.ones(n - 1)]),
}


def paired(rows: Rows) -> list[float]:
    """Student's test of differences by seed."""
    p_values: list[float] = np.asarray(scipy.stats.ttest_rel(rows[1:], rows[:1], axis=1).pvalue).tolist()
    return p_values


def welch(rows: Rows) -> list[float]:
    """Welch's test with each row's own variance."""
    found = scipy.stats.ttest_ind(rows[1:], rows[:1], axis=1, equal_var=False)
    p_values: list[float] = np.asarray(found.pvalue).tolist()
    return p_values


def pooled(rows: Rows) -> list[float]:
    """Student's test with one variance of all rows."""
    n_rows, n = rows.shape
    error = math.sqrt(2 * rows.var(axis=1, ddof=1).mean() / n)
    return list(2 * scipy.stats.t.sf(abs(rows[1:].mean(1) - rows[0].mean()) / error, n_rows * (n - 1)))


def shrunk(rows: Rows) -> list[float]:
    """latentbench's test."""
    return [found.p for found in differences(rows, 0)]


def differences(rows: Rows, baseline: int) -> list[Difference]:
    """The difference of every other row from a baseline; rows vary, so that there is one."""
    values = rows.tolist()
    spread = fit_spread(values)
    found = [difference(of_row, values[baseline], spread) for i, of_row in enumerate(values) if i != baseline]
    return [of_row for of_row in found if of_row]


def is_left_out(rows: Rows, against_first: Sequence[Difference]) -> bool:
    """Whether the second of rows that are equally good is ruled out as the best, where higher is better."""
    better = [found.p for found in differences(rows, 1) if found.mean > 0]
    is_worse = against_first[0].mean < 0 and holm([found.p for found in against_first])[0] < LEVEL
    return is_worse or min(better, default=1.0) < LEVEL / (len(rows) - 1)


TESTS: dict[str, Callable[[Rows], list[float]]] = {"paired": paired, "Welch": welch, "pooled": pooled, "shrunk": shrunk}


def simulate() -> list[list[str]]:
    """Rows, seeds, kind of column; for each test how many columns it marks wrongly, and in how many it finds the row.

    Of latentbench's test also how often it leaves out a best row, and how many of its intervals miss the truth: of all
    rows, and of the third alone.
    """
    lines = []
    for n_rows, n, kind in itertools.product((9, 38), (3, 5, 10), SCATTER):
        random = np.random.default_rng(0)
        missed: list[list[bool]]
        wrong, found, left_out, missed = dict.fromkeys(TESTS, 0), dict.fromkeys(TESTS, 0), 0, []
        for _ in range(COLUMNS):
            variances = SCATTER[kind](random, n_rows)
            rows = random.normal(size=(n_rows, n)) * np.sqrt(variances)[:, None]
            shifted = rows.copy()
            shifted[1] += SHIFT * math.sqrt((variances[0] + variances[1]) / n)
            for name, test in TESTS.items():
                wrong[name] += min(holm(test(rows))) < LEVEL
                found[name] += holm(test(shifted))[0] < LEVEL
            against_first = differences(rows, 0)
            left_out += is_left_out(rows, against_first)
            missed.append([abs(of_row.mean) > of_row.half_width() for of_row in against_first])
        cells = [f"{100 * wrong[name] / COLUMNS:.1f} / {100 * found[name] / COLUMNS:.0f}" for name in TESTS]
        cells += [f"{100 * left_out / COLUMNS:.1f}", f"{100 * np.mean(missed):.1f} / {100 * np.mean(missed, 0)[1]:.1f}"]
        lines.append([str(n_rows), str(n), kind, *cells])
        print(lines[-1], flush=True)
    return lines


def published() -> list[list[str]]:
    """Study, column, rows, p value and share of a common effect of seeds, degrees of freedom of the rows' variances."""
    lines = []
    for folder in sorted(path.parents[1] for path in (ROOT / "results").glob("*/digits/records.jsonl.gz")):
        study = folder.name
        config = compose_config([f"sweep={study}"])
        if config.tune is not None:  # its rows have the settings of several trials
            continue
        records = [record for record in load_records(folder)[0] if record.choices["data"] == "digits"]
        runs = group_runs(records, list(config.table.rows)).runs.values()
        measures = Measures(primary=config.table.primary, secondary=config.table.secondary)
        columns = choose_columns(records, config.table.columns, measures)[0]
        for key in (column.key for column in sorted(columns, key=lambda column: column.main) if column.main):
            by_row = [[run.metrics[key] for run in of_row if key in run.metrics] for of_row in runs]
            rows = np.array([values for values in by_row if len(values) == max(map(len, by_row))])
            if len(rows) > 3:
                freedom = fit_spread(rows.tolist()).freedom
                shown = "no scatter" if math.isinf(freedom) else f"{freedom:.1f}"
                p, share = seed_effect(rows)
                lines.append([study, key, str(len(rows)), f"{p:.2f}", f"{100 * share:.0f} %", shown])
    return lines


def seed_effect(rows: Rows) -> tuple[float, float]:
    """A common effect of seeds, in an additive model of row and seed: p value of its F test, share of the variance.

    On logarithms; on the numbers themselves where some are negative, as nats are.
    """
    values = np.log(rows) if (rows > 0).all() else rows
    n_rows, n = values.shape
    effects = values.mean(0) - values.mean()
    rest = values - values.mean(1, keepdims=True) - effects
    of_seeds = n_rows * (effects**2).sum() / (n - 1)
    of_rest = (rest**2).sum() / ((n_rows - 1) * (n - 1))
    component = max(0.0, (of_seeds - of_rest) / n_rows)
    p = float(scipy.stats.f.sf(of_seeds / of_rest, n - 1, (n_rows - 1) * (n - 1)))
    return p, float(component / (component + of_rest))


def write(name: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Replace the table between the two marks of a name in the page."""
    table = tabulate(lines, headings, tablefmt="github", disable_numparse=True)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(f"<!-- {name} -->")[0], text.partition(f"<!-- end of {name} -->")[2]
    PAGE.write_text(f"{before}<!-- {name} -->\n{table}\n<!-- end of {name} -->{after}", encoding="utf-8")


if __name__ == "__main__":
    effect = ["p of a common effect of seeds", "its share of the variance"]
    write("published", ["study", "column", "rows", *effect, "degrees of freedom"], published())
    if sys.argv[1:] != ["published"]:
        write(
            "simulation",
            ["rows", "seeds", "column", *TESTS, "best left out", "intervals that miss: all / of row 3"],
            simulate(),
        )

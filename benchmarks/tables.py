"""Time from 10,000 records, in run folders or in one published file, to a study's table (promised: 5 seconds).

    python benchmarks/tables.py > benchmarks/tables.md
    python benchmarks/tables.py 100000

The records are those of results/quick/digits, repeated with other seeds and latent sizes: 500 rows of 20 seeds.
"""

import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from machine import header, peak_memory
from tabulate import tabulate

from latentbench.configuration.compose import compose_config
from latentbench.records.record import Record
from latentbench.records.store import load_records, publish
from latentbench.reporting.formats import to_csv, to_latex, to_markdown, to_text
from latentbench.reporting.summarize import summarize

SEEDS = 20
PUBLISHED = Path(__file__).parents[1] / "results" / "quick"


def many(n_records: int) -> Iterator[Record]:
    """Records with a run id each."""
    record_of_method = {record.choices["method"]: record for record in load_records(PUBLISHED)[0]}
    methods = sorted(record_of_method)
    for number in range(n_records):
        row, seed = divmod(number, SEEDS)
        size, which = divmod(row, len(methods))
        record = record_of_method[methods[which]]
        choices = record.choices | {"seed": seed, "latent_size": 2 + size}
        config = record.config | {"seed": seed, "latent_size": 2 + size}
        metrics = {key: value * (1 + 0.01 * seed) for key, value in record.metrics.items()}
        yield dataclasses.replace(record, run_id=f"run{number:06}", choices=choices, config=config, metrics=metrics)


def main() -> None:
    """Print the table as Markdown."""
    n_records = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    table = compose_config(["sweep=quick"]).table
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for record in many(n_records):
            record.save(Path(folder) / "runs" / record.run_id)
        publish(many(n_records), [], [], Path(folder), Path(folder) / "published" / "digits")
        for kind in ("runs", "published"):
            times, busy = [time.perf_counter()], time.process_time()
            loaded, _ = load_records(Path(folder) / kind)
            times.append(time.perf_counter())
            summary = summarize(loaded, rows=["method", "latent_size"], columns=table.columns, baseline="vae")
            times.append(time.perf_counter())
            _ = to_markdown(summary, title=kind), to_csv(summary), to_latex(summary), to_text(summary)
            times.append(time.perf_counter())
            assert len(loaded) == n_records
            phases = [after - before for before, after in itertools.pairwise(times)]
            busy = time.process_time() - busy
            rows.append([kind, len(summary.table), *(f"{taken:.1f}" for taken in [*phases, sum(phases), busy])])
            del loaded, summary  # so that the peak of memory is that of one table
    print(header(f"A table of {n_records:,} records, {len(table.columns)} columns, one thread"))
    headers = ["records in", "rows", "load, s", "summarize, s", "four formats, s", "all, s", "of the processor, s"]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    print(f"\nPeak memory {peak_memory():.1f} GiB.")


if __name__ == "__main__":
    main()

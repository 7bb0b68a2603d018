"""Records as runs write them, and their rows in a table."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentbench.configuration.catalogue import preset
from latentbench.records.record import Record
from latentbench.reporting.formats import to_markdown
from latentbench.reporting.plots import Images
from latentbench.reporting.summary import Summary

FACTS = {
    "fid": {"units": "", "higher_is_better": False},
    "psnr": {"units": "dB", "higher_is_better": True},
    "rate": {"units": "nats", "higher_is_better": None},
}


def a_record(
    method: str = "vae",
    seed: int = 0,
    metrics: dict[str, float] | None = None,
    *,
    beta: float = 1.0,
    data: str = "digits",
    max_epochs: int = 50,
    config: dict[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """A record as a run writes it; `config` is merged over a small one, `fields` over the record's other fields."""
    choices = {"method": method, "data": data, "seed": seed, "beta": beta, "latent_size": 8}
    choices |= {
        "posterior": "dirac" if method == "ae" else "gaussian",
        "study": "s",
        "sampler": ["gmm", "prior"],
    }
    whole = {
        "seed": seed,
        "beta": beta,
        "study": "s",
        "data": {"name": data, "root": f"/seed{seed}", "batch_size": 32},
        "trainer": {"max_epochs": max_epochs},
        "logger": {"name": f"logger{seed}"},
        "resolved": {"metrics": FACTS, "device": f"device{seed}"},
    }
    record = Record(
        run_id=f"{method}-{data}-b{beta:g}-e{max_epochs}-s{seed}",
        study="s",
        status="finished",
        choices=choices,
        preset=preset(method),
        config=whole | (config or {}),
        environment={"git_commit": "c0ffee", "packages": {"latentbench": "0.1.0"}},
        metrics={"fid/prior": 10.0 + seed} if metrics is None else metrics,
    )
    return dataclasses.replace(record, **fields)


def row(summary: Summary, **values: Any) -> pd.Series:
    """The one table row of a setting."""
    table = summary.table[summary.table["status"] != "floor"]
    for key, value in values.items():
        table = table[table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


def markdown_row(summary: Summary, name: str) -> list[str]:
    lines = to_markdown(summary, title="s").splitlines()
    return [cell.strip() for cell in next(line for line in lines if line.startswith(f"| {name}")).split("|")[1:-1]]


def broken_records(folder: Path) -> None:
    good = json.dumps(dataclasses.asdict(a_record(seed=7)))
    contents = {
        "cut": good[:-20],
        "schema": good.replace('"schema": 4', '"schema": 99'),
        "nan": good.replace('"fid/prior": 17.0', '"fid/prior": NaN'),
        "word": good.replace('"fid/prior": 17.0', '"fid/prior": "low"'),
        "seedless": good.replace('"seed": 7', '"sead": 7'),
    }
    for name, content in contents.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "record.json").write_text(content)


def noise(seed: int, channels: int = 1) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (64, channels, 8, 8), dtype=np.uint8)


def keep(folder: Path, record: Record, **images: Images) -> Record:
    record.save(folder / record.run_id)
    if images:
        np.savez_compressed(folder / record.run_id / "images.npz", **images)
    return record

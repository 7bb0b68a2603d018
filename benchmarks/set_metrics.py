"""Time and memory of the metrics of image sets, 10,000 against 10,000 images of 28x28 (target: at most 1.5 GB and a few
seconds per set in 64 features, on one thread).

    python benchmarks/set_metrics.py > benchmarks/set_metrics.md

Each metric runs in its own process, and its memory is the peak of that process. The first line is the peak of a process
that only imports torch.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from machine import header, peak_memory, run_in_process
from omegaconf import OmegaConf
from tabulate import tabulate

from latentbench.configuration.catalogue import CONF_DIR, option_files
from latentbench.evaluation.build import build
from latentbench.features import cache
from latentbench.features.pixels import PixelFeatures
from latentbench.metrics.base import ImageMetric
from latentbench.metrics.inputs import MetricInputs

IMAGES, SHAPE, SETS = 10_000, (1, 28, 28), 3


class SomeFeatures(PixelFeatures):
    """The first `size` pixels."""

    def __init__(self, size: int) -> None:
        super().__init__(data_name="noise", shape=(1, 1, size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, : self.size]


def metric_of(option: str) -> Any:
    """A metric as its YAML sets it."""
    (node,) = OmegaConf.load(CONF_DIR / "metric" / f"{option}.yaml").values()
    return build(node)


def measure(option: str, size: int) -> tuple[float, float, float]:
    """Seconds for the reference, seconds per set and peak memory in GB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cache.folder = lambda: Path(os.devnull)  # no results from earlier runs
    metric = metric_of(option)
    images = {f"sampler {i}": torch.rand(IMAGES, *SHAPE) for i in range(SETS)}
    data: Any = SimpleNamespace(
        name="mnist",  # whose classifier there is
        shape=SHAPE,
        size=lambda split: IMAGES,
        expected_images=lambda split, rows=slice(None): torch.rand(IMAGES, *SHAPE)[rows],
    )
    reference = torch.rand(IMAGES, *SHAPE)
    inputs = MetricInputs(
        model=None,  # type: ignore[arg-type]
        data=data,
        features=SomeFeatures(size),
        images=images,
        skipped={},
        reference=reference,
        held_out=reference,
    )
    started = time.perf_counter()
    metric.prepare_reference(inputs)
    prepared = time.perf_counter()
    metric.measure(inputs)  # prepares the reference again, from the cache where it has one
    done = time.perf_counter()
    return prepared - started, (done - prepared) / SETS, peak_memory()


def main() -> None:
    """Print the table as Markdown."""
    rows = [["torch alone", "", "", "", f"{run_in_process(peak_memory):.2f}"]]
    image_metrics = [path.stem for path in option_files("metric") if isinstance(metric_of(path.stem), ImageMetric)]
    for size in (64, 784):
        for option in image_metrics:
            rows.append([option, str(size), *(f"{figure:.2f}" for figure in run_in_process(measure, option, size))])
    headers = ["metric", "features", "once, s", "each set, s", "peak memory, GB"]
    print(header(f"Metrics of {IMAGES:,} images of 28x28, one thread"))
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

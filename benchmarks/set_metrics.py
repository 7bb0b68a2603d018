"""Time and memory of the metrics of sets of images, 10,000 against 10,000, 28x28 (promise: no more than 1.5 GB and a
few seconds a set in 64 features, on one thread).

    python benchmarks/set_metrics.py > benchmarks/set_metrics.md

Each metric is measured in a process of its own; its memory is that process's peak, in which torch alone has what the
first line says.
"""

import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import OmegaConf
from tabulate import tabulate

from latentbench.configuration.catalogue import CONF_DIR, option_files
from latentbench.features import cache
from latentbench.features.pixels import PixelFeatures
from latentbench.metrics.base import ImageMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.running.build import build

IMAGES, SHAPE, SETS = 10_000, (1, 28, 28), 3


class SomeFeatures(PixelFeatures):
    """The first so many pixels."""

    def __init__(self, size: int) -> None:
        super().__init__(data_name="noise", shape=(1, 1, size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, size)."""
        return images.flatten(1)[:, : self.size]


def metric_of(option: str) -> Any:
    """A metric as its YAML has it."""
    (node,) = OmegaConf.load(CONF_DIR / "metric" / f"{option}.yaml").values()
    return build(node)


def measured(option: str, size: int) -> tuple[float, float, float]:
    """Seconds to prepare, seconds a set and peak memory in GB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cache.folder = lambda: Path(os.devnull)  # nothing is there from before
    metric = metric_of(option)
    images = {f"sampler {i}": torch.rand(IMAGES, *SHAPE) for i in range(SETS)}
    data: Any = SimpleNamespace(expected_images=lambda split: torch.rand(IMAGES, *SHAPE))
    reference = torch.rand(IMAGES, *SHAPE)
    inputs = MetricInputs(
        model=None,  # type: ignore[arg-type]
        data=data,
        features=SomeFeatures(size),
        images=images,
        skipped={},
        reference=reference,
        test_images=reference,
    )
    started = time.perf_counter()
    metric.prepare_reference(inputs)
    prepared = time.perf_counter()
    metric.measure(inputs)  # prepares again; what it keeps is kept
    done = time.perf_counter()
    return prepared - started, (done - prepared) / SETS, peak_memory()


def peak_memory() -> float:
    """Of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def alone(function: Any, *given: Any) -> Any:
    """The function's result, from a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def main() -> None:
    """Print the table as Markdown."""
    rows = [["torch alone", "", "", "", f"{alone(peak_memory):.2f}"]]
    of_sets = [path.stem for path in option_files("metric") if isinstance(metric_of(path.stem), ImageMetric)]
    for size in (64, 784):
        for option in of_sets:
            rows.append([option, str(size), *(f"{figure:.2f}" for figure in alone(measured, option, size))])
    headers = ["metric", "features", "once, s", "each set, s", "peak memory, GB"]
    print(f"# Metrics of {IMAGES:,} images of 28x28, torch {torch.__version__}, one thread\n")
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

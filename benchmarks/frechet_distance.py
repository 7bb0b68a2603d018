"""Time of the Frechet distance in 2,048 features, compared with torchmetrics (target: half of its time or less).

    python benchmarks/frechet_distance.py > benchmarks/frechet_distance.md

Each figure is the median over rounds. A round computes both in turn, so that other load slows down both; the ratio is
the median of the ratios of the rounds. Covariances are those of 10,000 vectors, and of 1,000, where they are singular.
"""

import statistics
import time
from collections.abc import Callable

import torch
from machine import header
from tabulate import tabulate
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from latentbench.metrics.frechet_distance import frechet_distance, moments

FEATURES, ROUNDS = 2048, 3


def seconds(distance: Callable[..., Tensor], *gaussians: Tensor) -> tuple[float, float]:
    """Seconds and value."""
    started = time.perf_counter()
    value = distance(*gaussians).item()
    return time.perf_counter() - started, value


def main() -> None:
    """Print the table as Markdown."""
    torch.manual_seed(0)
    rows = []
    for images in (10_000, 1000):
        sets = [scale * torch.randn(images, FEATURES).relu() for scale in (1.0, 0.9)]
        gaussians = [moment for features in sets for moment in moments(features)]
        for threads in (1, 2):
            torch.set_num_threads(threads)
            our_times, their_times, ratios = [], [], []
            for _ in range(ROUNDS):
                our_time, value = seconds(frechet_distance, *gaussians)
                their_time, their_value = seconds(_compute_fid, *gaussians)
                our_times.append(our_time)
                their_times.append(their_time)
                ratios.append(their_time / our_time)
            medians = [f"{statistics.median(rounds):.2f}" for rounds in (our_times, their_times, ratios)]
            rows.append([f"{images:,}", threads, *medians, f"{value:.4f}", f"{their_value:.4f}"])
    headers = ["images", "threads", "ours, s", "torchmetrics, s", "ratio", "ours", "torchmetrics"]
    print(header(f"Frechet distance in {FEATURES:,} features, median of {ROUNDS} rounds"))
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

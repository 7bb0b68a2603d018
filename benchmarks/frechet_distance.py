"""Time of the Frechet distance of 2,048 features beside torchmetrics' (promise: half of it or less).

    python benchmarks/frechet_distance.py > benchmarks/frechet_distance.md

Each figure is the median of rounds in which both are computed in turn, so that a noisy machine slows both; the ratio
is the median of the rounds' ratios. Covariances are of 10,000 vectors, and of 1,000, where they are singular.
"""

import statistics
import time
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from latentbench.metrics.frechet_distance import frechet_distance, moments

FEATURES, ROUNDS = 2048, 3


def seconds(distance: Callable[..., Tensor], *gaussians: Tensor) -> tuple[float, float]:
    """Time and value."""
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
            own, theirs, ratios = [], [], []
            for _ in range(ROUNDS):
                took, value = seconds(frechet_distance, *gaussians)
                their_time, their_value = seconds(_compute_fid, *gaussians)
                own.append(took)
                theirs.append(their_time)
                ratios.append(their_time / took)
            times = [f"{statistics.median(all_rounds):.2f}" for all_rounds in (own, theirs, ratios)]
            rows.append([f"{images:,}", threads, *times, f"{value:.4f}", f"{their_value:.4f}"])
    headers = ["images", "threads", "ours, s", "torchmetrics, s", "ratio", "ours", "torchmetrics"]
    print(f"# Frechet distance of {FEATURES:,} features, torch {torch.__version__}, median of {ROUNDS} rounds\n")
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

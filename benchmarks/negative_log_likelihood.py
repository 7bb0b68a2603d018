"""Time of `nll` for 10,000 images of MNIST's size x 1,000 importance samples with the mlp backbone (target: 4 minutes
on two cores), extrapolated from some of the images, and compared with a loop over images and samples.

    python benchmarks/negative_log_likelihood.py > benchmarks/negative_log_likelihood.md

The share of matrix products is the time that torch.mm takes for those of the decoder alone.
"""

import itertools
import time
from types import SimpleNamespace
from typing import cast

import torch
from machine import header
from tabulate import tabulate

from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.evaluation.build import build, build_model
from latentbench.metrics.negative_log_likelihood import importance_weighted_log_likelihood

IMAGES, SAMPLES, LOOPED = 400, 1000, 2


def seconds_of_products() -> float:
    """Seconds of the products of a decoder 10-256-256-784 for all draws of an image."""
    seconds = 0.0
    for before, after in itertools.pairwise((10, 256, 256, 784)):
        a, b = torch.randn(SAMPLES, before), torch.randn(before, after)
        started = time.monotonic()
        for _ in range(50):
            torch.mm(a, b)
        seconds += (time.monotonic() - started) / 50
    return seconds


def main() -> None:
    """Print the table as Markdown, on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    of_products, rows = seconds_of_products(), []
    x = torch.rand(IMAGES, 1, 28, 28)
    mnist_sized = cast(ImageData, SimpleNamespace(shape=(1, 28, 28), size=lambda split: 50_000))
    for likelihood in ("gaussian", "bernoulli", "continuous_bernoulli"):
        config = compose_config([f"likelihood={likelihood}", "latent_size=10"])
        model = build_model(config, mnist_sized).eval()
        metric = build(config.metric.nll, samples=SAMPLES)
        with torch.no_grad():
            started = time.monotonic()
            for batch in x.split(metric.batch_size):
                metric.update(model, batch)
            per_image = (time.monotonic() - started) / IMAGES
            started = time.monotonic()
            for image in x[:LOOPED].split(1):
                for _ in range(SAMPLES):
                    importance_weighted_log_likelihood(model, image, 1)
            looped = (time.monotonic() - started) / LOOPED
        rows.append(
            [likelihood, f"{1e4 * per_image:.0f}", f"{of_products / per_image:.0%}", f"{looped / per_image:.0f}"]
        )
    print(header(f"nll of 10,000 images of 28x28 by {SAMPLES:,} draws, one thread"))
    headers = ["likelihood", "seconds", "share of matrix products", "times as fast as one image and draw at a time"]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

"""Time of `nll` for 10,000 images of MNIST's size x 1,000 importance samples with the mlp backbone (target: 4 minutes
on two cores), extrapolated from some of the images, and compared with a loop over images and samples.

    python benchmarks/negative_log_likelihood.py
"""

import time
from types import SimpleNamespace
from typing import cast

import torch

from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.evaluation.build import build, build_model
from latentbench.metrics.negative_log_likelihood import importance_weighted_log_likelihood

IMAGES, SAMPLES, LOOPED = 400, 1000, 2


def main() -> None:
    """Print the seconds for both likelihoods, on all threads."""
    torch.manual_seed(0)
    x = torch.rand(IMAGES, 1, 28, 28)
    mnist_sized = cast(ImageData, SimpleNamespace(shape=(1, 28, 28), size=lambda split: 50_000))
    for likelihood in ("gaussian", "bernoulli"):
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
        print(
            f"{likelihood}: 10,000 images x {SAMPLES} samples in {1e4 * per_image:.0f} s on "
            f"{torch.get_num_threads()} threads; {looped / per_image:.0f} x as fast as one image and sample at a time"
        )


if __name__ == "__main__":
    main()

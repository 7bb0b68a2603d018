"""The step of a training beside a bare torch loop of the same network, loss, optimizer and batches, in turns.

    python benchmarks/step_ratio.py digits mnist

Prints the milliseconds of a step of each, the smallest of the rounds, and the median of their ratio: 1 is no overhead.
The start and the end of the trainer count for latentbench. MNIST needs LATENTBENCH_DATA.
"""

import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.evaluation.build import build, build_model
from latentbench.running.train import fit

ROUNDS = 9
STEPS = {"digits": 700, "mnist": 391}
HIDDEN, LATENT_SIZE = (256, 256), 8  # of the defaults


def of_latentbench(data_name: str) -> tuple[Callable[[], float], ImageData, int]:
    """A training of `vae` without validation, which returns seconds; its data, and its steps."""
    config = compose_config([f"data={data_name}", "likelihood=bernoulli", "data.binarize=dynamic", "logger=none"])
    OmegaConf.set_struct(config, False)
    data: ImageData = build(config.data, seed=0)
    per_epoch = -(-data.size("train") // data.batch_size)
    epochs = max(1, round(STEPS[data_name] / per_epoch))
    config.trainer.update({"limit_val_batches": 0, "max_epochs": epochs})

    def train() -> float:
        model = build_model(config, data)
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            fit(config, model, data, Path(folder))
            return time.perf_counter() - start

    return train, data, epochs * per_epoch


def layers(sizes: list[int]) -> list[nn.Module]:
    return [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]


def of_a_bare_loop(data: ImageData, steps: int) -> Callable[[], float]:
    """The same training written out, which returns seconds."""
    images, size = data.splits.images["train"], data.batch_size
    pixels = images[0].numel()

    def train() -> float:
        encoder = nn.Sequential(nn.Flatten(), *layers([pixels, *HIDDEN]), nn.Linear(HIDDEN[-1], 2 * LATENT_SIZE))
        decoder = nn.Sequential(*layers([LATENT_SIZE, *reversed(HIDDEN)]), nn.Linear(HIDDEN[0], pixels))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
        start = time.perf_counter()
        order = torch.randperm(len(images))
        for step in range(steps):
            batch = step % -(-len(images) // size)
            if batch == 0:
                order = torch.randperm(len(images))
            x = torch.bernoulli(images[order[batch * size : (batch + 1) * size]].float().div_(255))
            mean, raw = encoder(x).chunk(2, 1)
            scale = softplus(raw)
            z = mean + scale * torch.randn_like(scale)
            distortion = binary_cross_entropy_with_logits(decoder(z), x.flatten(1), reduction="sum")
            rate = (0.5 * (mean * mean + scale * scale - 1) - scale.log()).sum()
            optimizer.zero_grad(set_to_none=True)
            ((distortion + rate) / len(x)).backward()
            optimizer.step()
        return time.perf_counter() - start

    return train


def main() -> None:
    """Print a line per data set."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ["digits"]:
        ours, data, steps = of_latentbench(name)
        bare = of_a_bare_loop(data, steps)
        ours(), bare()
        pairs = [(ours(), bare()) for _ in range(ROUNDS)]
        best_ours, best_bare = (min(column) / steps * 1e3 for column in zip(*pairs, strict=True))
        ratio = statistics.median(other / one for one, other in pairs)
        print(f"{name}: latentbench {best_ours:.2f} ms a step, a bare loop {best_bare:.2f} ms; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()

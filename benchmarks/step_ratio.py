"""The step of a training beside a bare torch loop of the same network, loss, optimizer and batches, and beside Pythae.

    python benchmarks/step_ratio.py > benchmarks/step_ratio.md

All take turns, on one thread. Times are the smallest of the rounds, ratios the medians of the rounds. The start and the
end of the trainer count for latentbench, not for Pythae. Networks: 256-256, 8 latents; Bernoulli likelihood. Pythae's
columns are empty where it is not installed (benchmarks/pythae_step.py). Without LATENTBENCH_DATA, MNIST is left out.
"""

import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bare import METHODS, bare_step, batches_of
from machine import DATA, header
from omegaconf import OmegaConf
from pythae_step import pythae_seconds
from tabulate import tabulate
from tqdm import tqdm

from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.evaluation.build import build, build_model
from latentbench.running.train import fit

ROUNDS = {"digits": 7, "mnist": 3}
STEPS = {"digits": 700, "mnist": 391}

NOTE = """
Why ratios are below 1: on the digits a step is a few dozen small operations, to which distributions and the clamped
scale add some, and an epoch of 34 steps has its start and end in Lightning. `vampprior_vae` compares ten draws of each
image with 100 components by torch's distributions, which go through the large arrays more often than a formula written
out.

Not the same in Pythae: its VampPrior takes one draw for the KL term, its `aae` has a critic of one hidden layer."""


def of_latentbench(method: str, data_name: str) -> tuple[Callable[[], float], ImageData, int]:
    """A training without validation, which returns seconds a step; its data, and its epochs."""
    settings = [] if method == "gan" else ["likelihood=bernoulli", "data.binarize=dynamic"]
    config = compose_config([f"method={method}", f"data={data_name}", "logger=none", *settings])
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
            return (time.perf_counter() - start) / (epochs * per_epoch)

    return train, data, epochs


def of_a_bare_loop(method: str, data: ImageData, epochs: int) -> float:
    """Seconds a step of the same training, written out."""
    images, size = data.splits.images["train"], data.batch_size
    step = bare_step(method, data.shape)
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for first in range(0, len(images), size):
            step(batches_of(images, order[first : first + size], binarize=data.is_binary))
    return (time.perf_counter() - start) / (epochs * -(-len(images) // size))


def row_of(method: str, data_name: str) -> list[str]:
    """Milliseconds a step, and ratios to latentbench's."""
    ours, data, epochs = of_latentbench(method, data_name)
    grey = data.expected_images("train")

    def theirs() -> float:
        return pythae_seconds(method, grey, batch_size=data.batch_size, epochs=epochs, device="cpu")

    ours(), of_a_bare_loop(method, data, 1)
    rounds = [(ours(), of_a_bare_loop(method, data, epochs), theirs()) for _ in range(ROUNDS[data_name])]
    times = [f"{min(column) * 1e3:.2f}" for column in zip(*rounds, strict=True)]
    of_bare = statistics.median(bare / our for our, bare, _ in rounds)
    of_theirs = statistics.median(other / our for our, _, other in rounds)
    cells = [method, *times, f"{of_bare:.2f}", f"{of_theirs:.2f}"]
    return ["" if cell == str(math.nan) else cell for cell in cells]


def main() -> None:
    """Print the table as Markdown."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    print(header("A step of a training beside a bare loop and beside Pythae 0.1.2, one thread"))
    headers = ["", "latentbench, ms", "bare loop, ms", "Pythae, ms", "bare loop / latentbench", "Pythae / latentbench"]
    for name in DATA:
        rows = [row_of(method, name) for method in tqdm(METHODS, desc=name, disable=None)]
        print(f"\n{name}\n")
        print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    print(NOTE)


if __name__ == "__main__":
    main()

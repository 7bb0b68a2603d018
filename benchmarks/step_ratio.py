"""The step of a training beside a bare torch loop of the same network, loss, optimizer and batches, and beside Pythae.

    python benchmarks/step_ratio.py > benchmarks/step_ratio.md

All take turns, on one thread. Times are the smallest of the rounds, ratios the medians of the rounds. The start and the
end of the trainer count for latentbench, not for Pythae. Networks: 256-256, 8 latents; Bernoulli likelihood. Pythae's
columns are empty where it is not installed (benchmarks/pythae_step.py). Without LATENTBENCH_DATA, MNIST is left out.

Then every method, and the settings of a training, on the digits: processor time, without the trainer's start and end,
which would be a large share of these short trainings.
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
from bare import METHODS, Step, bare_step, bare_step_of, batches_of
from machine import DATA, header
from omegaconf import DictConfig, OmegaConf
from pythae_step import pythae_seconds
from tabulate import tabulate
from tqdm import tqdm
from training_throughput import seconds, settings_of

from latentbench.configuration.catalogue import option_files
from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.evaluation.build import build, build_model
from latentbench.running.train import fit

ROUNDS = {"digits": 7, "mnist": 3}
STEPS = {"digits": 700, "mnist": 391}
BRIEF_EPOCHS, BRIEF_ROUNDS = 2, 3  # of 34 steps
SETTINGS = (
    "replay=false",
    "trainer.ema=0.999",
    "trainer.gradient_clip=1",
    "trainer.accumulate=4",
    "optimizer=adamw",
    "optimizer=radam",
    "optimizer=sgd",
    "schedule=step",
    "schedule=warmup_cosine",
    "schedule=plateau",
    "schedule=warmup_cosine trainer.ema=0.999 trainer.gradient_clip=1",
)

NOTE = """
Why ratios are above 1: latentbench records the operations of a step once, and repeats them without modules and autograd
(`replay=true`). `vampprior_vae` also compares draws with components by products of matrices.

Not the same in Pythae: its VampPrior takes one draw for the KL term, its `aae` has a critic of one hidden layer.

Every method on the digits, processor time of the second half of a short training. The bare loop of the same model has
its networks and losses, torch's backward and torch's Adam. The loop that is written out has formulas in place of
distributions, too. `sinkhorn_ae` and `svae` are not replayed (`latentbench --help` says why).
"""


def of_latentbench(method: str, data_name: str) -> tuple[Callable[[], float], ImageData, int]:
    """A training without validation, which returns seconds a step; its data, and its epochs."""
    config = compose_config([f"data={data_name}", "logger=none", *settings_of(method)])
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


def of_a_bare_loop(step: Step, data: ImageData, epochs: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds a step of a bare loop over the same images."""
    images, size = data.splits.images["train"], data.batch_size
    start = clock()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for first in range(0, len(images), size):
            step(batches_of(images, order[first : first + size], binarize=data.is_binary))
    return (clock() - start) / (epochs * -(-len(images) // size))


def row_of(method: str, data_name: str) -> list[str]:
    """Milliseconds a step, and ratios to latentbench's."""
    ours, data, epochs = of_latentbench(method, data_name)
    grey = data.expected_images("train")

    def theirs() -> float:
        return pythae_seconds(method, grey, batch_size=data.batch_size, epochs=epochs, device="cpu")

    def bare() -> float:
        return of_a_bare_loop(bare_step(method, data.shape), data, epochs)

    ours(), bare()
    rounds = [(ours(), bare(), theirs()) for _ in range(ROUNDS[data_name])]
    times = [f"{min(column) * 1e3:.2f}" for column in zip(*rounds, strict=True)]
    of_bare = statistics.median(bare / our for our, bare, _ in rounds)
    of_theirs = statistics.median(other / our for our, _, other in rounds)
    cells = [method, *times, f"{of_bare:.2f}", f"{of_theirs:.2f}"]
    return ["" if cell == str(math.nan) else cell for cell in cells]


def row_of_any_method(method: str) -> list[str]:
    """Ratios of a bare loop of the same model, and of the loop written out where there is one, to latentbench's."""
    train, config, data = brief_training(*settings_of(method))

    def bare() -> float:
        return of_a_bare_loop(bare_step_of(build_model(config, data)), data, BRIEF_EPOCHS, time.process_time)

    def written_out() -> float:
        if method not in METHODS:
            return math.nan
        return of_a_bare_loop(bare_step(method, data.shape), data, BRIEF_EPOCHS, time.process_time)

    train(), bare()
    rounds = [(train(), bare(), written_out()) for _ in range(BRIEF_ROUNDS)]
    of_bare = statistics.median(other / our for our, other, _ in rounds)
    of_written = statistics.median(other / our for our, _, other in rounds)
    return [method, f"{of_bare:.2f}", f"{of_written:.2f}" if method in METHODS else ""]


def row_of_setting(setting: str) -> list[str]:
    """The ratio of the step of `vae` with a setting to that without it."""
    validates = setting == "schedule=plateau"  # which reads the validation loss
    train, *_ = brief_training(*settings_of("vae"), *setting.split(), validates=validates)
    plain, *_ = brief_training(*settings_of("vae"), validates=validates)
    train(), plain()
    return [f"`{setting}`", f"{statistics.median(train() / plain() for _ in range(BRIEF_ROUNDS)):.2f}"]


def brief_training(*settings: str, validates: bool = False) -> tuple[Callable[[], float], DictConfig, ImageData]:
    """A training on the digits, which returns seconds a step; its config and its data."""
    config = compose_config([*settings, "logger=none"])
    OmegaConf.set_struct(config, False)
    config.trainer.update({"max_epochs": BRIEF_EPOCHS, "limit_val_batches": 1.0 if validates else 0})
    data: ImageData = build(config.data, seed=0)

    def train() -> float:
        with TemporaryDirectory() as folder:
            return seconds(config, data, Path(folder), time.process_time)

    return train, config, data


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
    headers = ["", "bare loop of the same model / latentbench", "written out / latentbench"]
    methods = [path.stem for path in option_files("method")]
    rows = [row_of_any_method(method) for method in tqdm(methods, desc="every method", disable=None)]
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    rows = [row_of_setting(setting) for setting in tqdm(SETTINGS, desc="settings", disable=None)]
    headers = ["setting of a training of `vae`", "its step / the plain step"]
    print("\nSettings of a training, digits, processor time; `schedule=plateau` with validation in both.\n")
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

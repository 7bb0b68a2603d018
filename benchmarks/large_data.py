"""200,000 images of 64x64x3 pixels, of which a file holds 2.3 GiB: memory, and the step of a training beside images in
memory (targets: at most 1.5 GiB, at most 10 % slower).

    python benchmarks/large_data.py > benchmarks/large_data.md

method=vae with the mlp backbone on one thread of a processor: the quickest step there is, which feels reading most. The
images are noise. Steps take turns; each figure is the median over rounds. Peak memory is that of a process that opens
the decoded images, checks them, and trains and validates. Needs 8 GiB of disk.
"""

import logging
import os
import statistics
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from machine import header, peak_memory, run_in_process
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from training_throughput import seconds

from latentbench.configuration.compose import compose_config
from latentbench.contracts.images import GivenImages
from latentbench.data.base import ImageData, Splits
from latentbench.evaluation.build import build, build_model
from latentbench.running.train import fit

IMAGES, SHAPE = 200_000, (64, 64, 3)
STEPS = 20
ROUNDS = 5
MEMORY_STEPS = 300  # of the trainings whose memory is measured: it must not grow with their number


def write_images(path: Path) -> None:
    """An .npy of noise."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (IMAGES, *SHAPE))
    generator = np.random.default_rng(0)
    for start in range(0, IMAGES, 10_000):
        images[start : start + 10_000] = generator.integers(0, 256, (10_000, *SHAPE), np.uint8)


def config_of(root: Path, **trainer: Any) -> DictConfig:
    """The config of a short training."""
    config = compose_config(["method=vae", "data=arrays", f"data.root={root}", "trainer.accelerator=cpu"])
    OmegaConf.set_struct(config, False)
    config.trainer.update({"max_epochs": 1, "limit_train_batches": STEPS, **trainer})
    return config


def opened(config: DictConfig) -> ImageData:
    """The data set, its images in their file."""
    data: ImageData = build(config.data, seed=0)
    data.setup()
    return data


def in_memory(data: ImageData) -> ImageData:
    """The same data set, its images read into memory."""
    images = {split: tensor.clone() for split, tensor in data.splits.images.items()}
    copy = GivenImages(Splits(images, data.splits.labels), name="copy")
    copy._splits = copy.given  # checked already
    copy.batch_size = data.batch_size
    return copy


def quiet() -> None:
    """As in a run: one thread, no advice of Lightning."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)


def opening(root: Path) -> tuple[float, float]:
    """Seconds until the images can be trained on, and peak memory."""
    quiet()
    start = time.perf_counter()
    opened(config_of(root))
    return time.perf_counter() - start, peak_memory()


def training(root: Path, from_memory: bool) -> float:
    """Peak memory of a training with its validation."""
    quiet()
    config = config_of(root, limit_train_batches=MEMORY_STEPS, limit_val_batches=MEMORY_STEPS)
    data = opened(config)
    if from_memory:
        data = in_memory(data)
    with TemporaryDirectory() as folder:
        fit(config, build_model(config, data), data, Path(folder))
    return peak_memory()


def step_times(root: Path) -> tuple[list[float], list[float]]:
    """Seconds a step from the file and from memory, by round."""
    quiet()
    config = config_of(root, limit_val_batches=0)
    mapped = opened(config)
    resident = in_memory(mapped)
    with TemporaryDirectory() as folder:
        rounds = [[seconds(config, data, Path(folder)) for data in (mapped, resident)] for _ in range(ROUNDS)]
    of_file, of_memory = zip(*rounds, strict=True)
    return list(of_file), list(of_memory)


def main() -> None:
    """Print the table as Markdown."""
    quiet()
    load = os.getloadavg()[1]  # before this begins
    with TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        root = Path(folder) / "images.npy"
        run_in_process(write_images, root)  # a process starts with the peak memory of the one that starts it
        decoded, memory_of_decoding = run_in_process(opening, root)
        reopened, memory_of_opening = run_in_process(opening, root)
        of_file, of_memory = run_in_process(step_times, root)
        rows = [
            ["decoded for the first time", f"{decoded:.0f} s", f"{memory_of_decoding:.2f}"],
            ["opened again", f"{reopened:.0f} s", f"{memory_of_opening:.2f}"],
            *(
                [
                    name,
                    f"{statistics.median(times) * 1e3:.1f} ms a step",
                    f"{run_in_process(training, root, there):.2f}",
                ]
                for name, times, there in (("trained from the file", of_file, False), ("from memory", of_memory, True))
            ),
        ]
    ratio = statistics.median(a / b for a, b in zip(of_file, of_memory, strict=True))
    print(header(f"{IMAGES:,} images of 64x64x3 pixels, data=arrays, vae, mlp backbone, one thread"))
    print(tabulate(rows, headers=["", "time", "peak memory, GiB"], tablefmt="github", disable_numparse=True))
    print(f"\nA step from the file takes {ratio:.3f} times that of one from memory, median of {ROUNDS} rounds in turn.")
    print("The file was in the system's own cache of files, as it is after a first epoch where memory is free.")
    print(f"Other processes kept {load:.1f} of the processors busy, which slows steps and changes no memory.")


if __name__ == "__main__":
    main()

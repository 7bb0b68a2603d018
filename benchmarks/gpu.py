"""Training and measuring on this machine's GPU, in at most eight minutes. Without one, the same on the processor, tiny.

    python benchmarks/gpu.py > benchmarks/gpu.md

Times of a step: a bare loop, the same as a CUDA graph, latentbench with replay=false and with true, and Pythae's
trainer if it is installed. Images are noise of the size of MNIST's and, for the residual network, of CIFAR-10's.
Runs an hour: `latentbench -m method=vae` on MNIST (needs LATENTBENCH_DATA), several runs at a time on the device.
"""

import functools
import json
import logging
import math
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path

import torch
from bare import LATENT_SIZE, METHODS, Step, bare_step, batches_of, vae
from machine import DATA, header
from omegaconf import OmegaConf
from pythae_step import pythae_seconds
from tabulate import tabulate
from torch import Tensor, nn

from evaluation import times
from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData, Split, Splits
from latentbench.evaluation.build import build_model
from latentbench.models.autoencoder import Autoencoder
from latentbench.running.train import fit

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IS_TINY = DEVICE == "cpu"
BATCH, N_TRAIN, EPOCHS = (8, 48, 2) if IS_TINY else (128, 25_600, 4)
GREY, COLOUR = (1, 28, 28), (3, 32, 32)
RUN = ("method=vae", "data=mnist", "trainer.max_epochs=20", "metric=[fid]", "sampler=[prior]", "features=[classifier]")


class Noise(ImageData):
    """Images of random grey values."""

    def __init__(self, shape: tuple[int, int, int], *, binarize: str) -> None:
        super().__init__(name="noise", binarize=binarize, batch_size=BATCH, seed=0)
        self.of_shape = shape

    def load(self) -> Splits:
        sizes: dict[Split, int] = {"train": N_TRAIN, "validation": 100, "test": 100}
        images = {split: torch.randint(0, 256, (n, *self.of_shape), dtype=torch.uint8) for split, n in sizes.items()}
        return Splits(images, {split: torch.zeros(n, dtype=torch.int64) for split, n in sizes.items()})


def settings_of(method: str) -> list[str]:
    """All autoencoders with the same likelihood, so that each has one bare loop."""
    same = ["data=mnist", "logger=none", f"trainer.accelerator={'gpu' if DEVICE == 'cuda' else 'cpu'}"]
    return [f"method={method}", *same, *([] if method == "gan" else ["likelihood=bernoulli"])]


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def of_latentbench(data: ImageData, *settings: str) -> tuple[float, float, str]:
    """Seconds a step, the fastest epoch but the first; MiB of the device; whether it was a CUDA graph."""
    config = compose_config(list(settings))
    OmegaConf.set_struct(config, False)
    config.trainer.update({"max_epochs": EPOCHS, "limit_val_batches": 0})
    model = build_model(config, data)
    ends: list[float] = []
    end_epoch = model.on_train_epoch_end

    def on_train_epoch_end() -> None:
        end_epoch()
        wait()
        ends.append(time.perf_counter())

    model.on_train_epoch_end = on_train_epoch_end  # type: ignore[method-assign]
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        fit(config, model, data, Path(folder))
    memory = torch.cuda.max_memory_allocated() / 2**20 if DEVICE == "cuda" else math.nan
    steps = -(-N_TRAIN // BATCH)
    return min(b - a for a, b in pairwise(ends)) / steps, memory, model.done.replay or "no"


def of_a_bare_loop(step: Step, images: Tensor, *, binarize: bool, graphed: bool) -> float:
    """Seconds a step of a bare loop over shuffled batches, the fastest epoch but the first."""
    images = images.to(DEVICE)
    indices = torch.zeros(BATCH, dtype=torch.int64, device=DEVICE)
    take = lambda: step(batches_of(images, indices, binarize=binarize))  # noqa: E731
    if graphed:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                take()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            take()
        take = graph.replay
    fastest, n_batches = math.inf, len(images) // BATCH
    for _ in range(EPOCHS):
        wait()
        start = time.perf_counter()
        order = torch.randperm(len(images), device=DEVICE)
        for batch in range(n_batches):
            indices.copy_(order[batch * BATCH : (batch + 1) * BATCH])
            take()
        wait()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest / n_batches


def resnet_step(settings: list[str], data: ImageData) -> Step:
    """The bare VAE step with latentbench's residual networks."""
    backbone = build_model(compose_config(settings), data).backbone.to(DEVICE)
    head = nn.Linear(backbone.features, 2 * LATENT_SIZE).to(DEVICE)
    return vae(nn.Sequential(backbone.encoder, head), backbone.decoder)


def step_times() -> tuple[str, float]:
    """The table of milliseconds a step; seconds a step of Pythae's VAE."""
    rows, of_pythaes_vae = [], math.nan
    for method, shape in [*((method, GREY) for method in METHODS), ("vae", COLOUR)]:
        settings = settings_of(method) + (["backbone=resnet"] if shape == COLOUR else [])
        data = Noise(shape, binarize="none" if method == "gan" else "dynamic")
        images = data.splits.images["train"]
        make = (
            functools.partial(resnet_step, settings, data)
            if shape == COLOUR
            else functools.partial(bare_step, method, GREY, DEVICE)
        )
        bare = of_a_bare_loop(make(), images, binarize=data.is_binary, graphed=False)
        graphed = (
            of_a_bare_loop(make(), images, binarize=data.is_binary, graphed=True) if DEVICE == "cuda" else math.nan
        )
        ordinary, _, _ = of_latentbench(data, *settings, "replay=false")
        ours, memory, how = of_latentbench(data, *settings, "replay=true")
        half, _, _ = of_latentbench(data, *settings, "replay=true", "trainer.precision=bf16-mixed")
        theirs = math.nan
        if shape == GREY:
            theirs = pythae_seconds(method, images.float() / 255, batch_size=BATCH, epochs=2, device=DEVICE)
        if method == "vae" and shape == GREY:
            of_pythaes_vae = theirs
        name = method + (" backbone=resnet" if shape == COLOUR else "")
        times = [f"{1e3 * t:.3f}" for t in (bare, graphed, ordinary, ours, half, theirs)]
        rows.append([name, *times, f"{graphed / ours:.2f}", f"{theirs / ours:.1f}", f"{memory:.0f}", how])
        print(rows[-1], file=sys.stderr, flush=True)
    headers = ["", "bare loop", "bare graph", "replay=false", "replay=true", "and bf16-mixed", "Pythae"]
    headers += ["bare graph / ours", "Pythae / ours", "MiB", "graph"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True), of_pythaes_vae


def runs_an_hour(data: str, pythae_step: float) -> str:
    """The table of runs an hour, start of the workers included, for several at a time on the device."""
    rows: list[list[str]] = []
    for at_a_time, n_runs in {"1": 2}.items() if IS_TINY else {"1": 4, "4": 8, "8": 16, "16": 32, "auto": 32}.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(sys.executable, "-m", "latentbench", "-m", *RUN, f"data={data}", f"output_dir={folder}"),
                *(f"seed=range({n_runs})", "logger=none", "launcher=auto", f"launcher.runs_per_device={at_a_time}"),
                *(("trainer.max_epochs=1",) if IS_TINY else ()),
            ]
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            hourly = 3600 * n_runs / (time.perf_counter() - start)
            records = [json.loads(path.read_text()) for path in Path(folder).rglob("record.json")]
        fit = statistics.median(record["seconds"]["fit"] for record in records)
        rows.append([at_a_time, str(n_runs), f"{hourly:,.0f}", f"{fit:.1f}"])
        print(rows[-1], file=sys.stderr, flush=True)
    theirs = 3600 / (20 * 391 * pythae_step)
    rows.append(["Pythae, training alone", "", f"{theirs:,.0f}", f"{20 * 391 * pythae_step:.1f}"])
    headers = ["runs at a time", "runs", "runs an hour", "seconds of a training"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def difference_from_cpu() -> float:
    """The largest difference of a gradient of method=ae between the device and the processor, as a share of it."""
    data = Noise(GREY, binarize="none")
    model = build_model(compose_config(settings_of("ae")), data)
    assert isinstance(model, Autoencoder)
    x = data.images("test")
    gradients = []
    for device in ("cpu", DEVICE):
        model.to(device).zero_grad()
        terms, _ = model.terms(x.to(device))
        terms["loss"].backward()
        gradients.append([weight.grad.cpu().clone() for weight in model.parameters() if weight.grad is not None])
    return max(((a - b).norm() / a.norm()).item() for a, b in zip(*gradients, strict=True))


def main() -> None:
    """Print the tables as Markdown."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    print(header("Training and measuring on a GPU" + (": there is none, so tiny sizes on the processor" * IS_TINY)))
    print(f"Milliseconds a step of {BATCH} images:\n")
    table, pythae_step = step_times()
    print(table)
    difference = difference_from_cpu()
    print(f"\nGradients of method=ae on the device differ from the processor's by {difference:.1e} at most.\n")
    data = DATA[0] if IS_TINY else DATA[-1]
    print(f"Runs an hour of `latentbench -m {' '.join(RUN)}`, which measure one metric:\n")
    print(runs_an_hour(data, pythae_step))
    few = ["metric.nll.samples=10"] if IS_TINY else []
    seconds, n_sets = times(compose_config([f"data={data}", *few]), torch.device(DEVICE))
    print(f"\nMeasuring one run, {n_sets} sets of images: {sum(seconds.values()):.1f} s\n")
    print(tabulate([(name, f"{t:.2f}") for name, t in seconds.items()], headers=["metric", "s"], tablefmt="github"))


if __name__ == "__main__":
    main()

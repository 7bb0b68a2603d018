"""Training throughput of every method, compared with method=vae, on the digits and on MNIST, with the mlp backbone.

    python benchmarks/training_throughput.py > benchmarks/training_throughput.md

Each figure is the median over rounds. In a round the VAE and the method train in turn, so that other load slows down
both. MNIST is left out if its files are missing (LATENTBENCH_DATA).
"""

import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from machine import header
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from tqdm import tqdm

from latentbench.configuration.catalogue import option_files
from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.errors import UserError
from latentbench.evaluation.build import build, build_model
from latentbench.running.train import fit

ROUNDS = 3
STEPS = 68  # two epochs of the digits in batches of 32; MNIST's batches are of 128
CRITIC = "a critic and its optimizer: a second forward and backward pass per step"
# Why a method takes about twice the VAE's time or more.
REASONS = {
    "iwae": "50 draws per image: the decoder and its gradient are computed for 50 times as many latents",
    "aae": CRITIC,
    "wae_gan": CRITIC,
    "factor_vae": CRITIC,
    "vampprior_vae": "every batch also encodes 100 pseudo-inputs, and compares ten draws per image with all of them",
    "svae": "exact draws by rejection and their gradient by quadrature, in double precision",
    "flow_prior_vae": "the density of the prior takes three masked networks, for ten draws per image",
    "sinkhorn_ae": "up to 100 iterations for each of three transport plans",
}


def seconds(config: DictConfig, data: ImageData, folder: Path, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per training step in the second half of a training: those before it record what is replayed."""
    model = build_model(config, data)
    step_ends: list[float] = []
    accumulate = model.accumulate_terms  # the end of a step

    def timed(stage: str, terms: dict[str, torch.Tensor], n: int) -> None:
        accumulate(stage, terms, n)
        if stage == "train":
            step_ends.append(clock())

    model.accumulate_terms = timed  # type: ignore[method-assign]
    fit(config, model, data, folder)
    half = step_ends[len(step_ends) // 2 :]
    return (half[-1] - half[0]) / (len(half) - 1)


def settings_of(method: str) -> list[str]:
    """The method with a Bernoulli likelihood, if it has one."""
    has_likelihood = method not in ("gan", "hinge_gan", "wgan_gp")
    return [f"method={method}", *(["likelihood=bernoulli", "data.binarize=dynamic"] if has_likelihood else [])]


def config_of(method: str, data: str) -> DictConfig:
    """The config of a method for a short training without validation."""
    config = compose_config([*settings_of(method), f"data={data}"])
    OmegaConf.set_struct(config, False)
    epochs = 2 if data == "digits" else 1
    config.trainer.update({"max_epochs": epochs, "limit_train_batches": STEPS // epochs, "limit_val_batches": 0})
    return config


def throughput(data_name: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Method -> images per second, and time relative to the VAE; empty if the data are missing."""
    vae = config_of("vae", data_name)
    data: ImageData = build(vae.data, seed=0)
    try:
        data.setup()
    except UserError as error:
        print(f"{data_name} is left out: {error}", file=sys.stderr)
        return {}
    throughputs = {}
    for method in tqdm([path.stem for path in option_files("method")], desc=data_name, disable=None):
        config, method_times, vae_times = config_of(method, data_name), [], []
        images: ImageData = build(config.data, seed=0)  # a GAN's are grey
        for _ in range(ROUNDS):
            vae_times.append(seconds(vae, data, folder))
            method_times.append(seconds(config, images, folder))
        ratio = statistics.median(a / b for a, b in zip(method_times, vae_times, strict=True))
        throughputs[method] = (data.batch_size / statistics.median(method_times), ratio)
    return throughputs


def main() -> None:
    """Print the table as Markdown."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        by_data = {name: throughput(name, Path(folder)) for name in ("digits", "mnist")}
    rows = []
    for method in by_data["digits"]:
        row, is_slow = [method], False
        for throughputs in by_data.values():
            samples, ratio = throughputs.get(method, (float("nan"), float("nan")))
            row += [f"{samples:,.0f}", f"{ratio:.2f}"]
            is_slow |= ratio > 2
        rows.append([*row, REASONS.get(method, "not explained yet") if is_slow else ""])
    headers = ["method", "digits, samples/s", "time / vae's", "MNIST, samples/s", "time / vae's", "why more than twice"]
    print(header(f"Training throughput, mlp backbone, one thread, median of {ROUNDS} rounds"))
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

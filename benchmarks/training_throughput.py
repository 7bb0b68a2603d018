"""Training throughput of every method beside that of method=vae, on the digits and on MNIST, with the mlp backbone.

    python benchmarks/training_throughput.py > benchmarks/training_throughput.md

Each figure is the median of rounds in which the VAE and the method train in turn, so that a noisy machine slows both.
MNIST is left out where its files are not there (LATENTBENCH_DATA).
"""

import logging
import statistics
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from tqdm import tqdm

from latentbench.configuration.catalogue import option_files
from latentbench.configuration.compose import compose_config
from latentbench.data.base import ImageData
from latentbench.errors import UserError
from latentbench.running.build import build, build_model
from latentbench.running.train import fit

ROUNDS = 3
STEPS = 68  # two epochs of the digits in batches of 32; MNIST's batches are of 128
CRITIC = "a critic and its optimizer: a second forward and backward pass a step"
# Why a method takes more than twice the VAE's time, or comes near it.
REASONS = {
    "iwae": "50 draws per image: the decoder and its gradient are computed for 50 times as many latents",
    "aae": CRITIC,
    "wae_gan": CRITIC,
    "factor_vae": CRITIC,
    "vampprior_vae": "100 pseudo-inputs are encoded with every batch; ten draws per image are compared with all",
    "svae": "exact draws by rejection and their gradient by quadrature, in double precision",
    "flow_prior_vae": "the prior's density takes three masked networks, for ten draws per image",
    "sinkhorn_ae": "up to 100 iterations for each of three transport plans",
}


def seconds(config: DictConfig, data: ImageData, folder: Path) -> float:
    """Time of STEPS steps of training, the trainer's start and end not counted."""
    model = build_model(config, data)
    marks: list[float] = []
    step = model.training_step

    def marked(batch: torch.Tensor, batch_idx: int) -> None:
        step(batch, batch_idx)
        marks.append(time.perf_counter())

    model.training_step = marked  # type: ignore[method-assign]
    fit(config, model, data, folder)
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def config_of(method: str, data: str) -> DictConfig:
    """A method's config for a short training without validation."""
    config = compose_config([f"method={method}", f"data={data}", "data.binarize=dynamic", "likelihood=bernoulli"])
    OmegaConf.set_struct(config, False)
    epochs = 2 if data == "digits" else 1
    config.trainer.update({"max_epochs": epochs, "limit_train_batches": STEPS // epochs, "limit_val_batches": 0})
    return config


def throughput(data_name: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Method -> samples per second and how many times the VAE's time it takes; empty without the data."""
    vae = config_of("vae", data_name)
    data: ImageData = build(vae.data, seed=0)
    try:
        data.setup()
    except UserError as error:
        print(f"{data_name} is left out: {error}", file=sys.stderr)
        return {}
    found = {}
    for method in tqdm([path.stem for path in option_files("method")], desc=data_name, disable=None):
        config, own, of_vae = config_of(method, data_name), [], []
        for _ in range(ROUNDS):
            of_vae.append(seconds(vae, data, folder))
            own.append(seconds(config, data, folder))
        ratio = statistics.median(a / b for a, b in zip(own, of_vae, strict=True))
        found[method] = (data.batch_size / statistics.median(own), ratio)
    return found


def main() -> None:
    """Print the table as Markdown."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        by_data = {name: throughput(name, Path(folder)) for name in ("digits", "mnist")}
    rows = []
    for method in by_data["digits"]:
        row, slow = [method], False
        for found in by_data.values():
            samples, ratio = found.get(method, (float("nan"), float("nan")))
            row += [f"{samples:,.0f}", f"{ratio:.2f}"]
            slow |= ratio > 2
        rows.append([*row, REASONS.get(method, "not explained yet") if slow else ""])
    headers = ["method", "digits, samples/s", "time / vae's", "MNIST, samples/s", "time / vae's", "why more than twice"]
    print(f"# Training throughput, mlp backbone, torch {torch.__version__}, one thread, median of {ROUNDS} rounds\n")
    print(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()

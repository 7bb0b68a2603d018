"""The head of a page of measurements."""

import datetime
import os

import torch

import latentbench
from latentbench.records.provenance import processor

# Data sets that are there: MNIST is not downloaded for a benchmark.
DATA = ("digits", "mnist") if "LATENTBENCH_DATA" in os.environ else ("digits",)


def header(title: str) -> str:
    """The title, and what the numbers were measured on."""
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    cores = len(os.sched_getaffinity(0))
    versions = f"torch {torch.__version__}, latentbench {latentbench.__version__}"
    return f"# {title}\n\n{gpu}{processor()}, {cores} cores; {versions}; {datetime.date.today()}\n"

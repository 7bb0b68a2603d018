"""The head of a page of measurements, and what measures memory."""

import datetime
import os
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

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


def peak_memory() -> float:
    """Peak memory of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def run_in_process(function: Any, *arguments: Any) -> Any:
    """The result of the function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()

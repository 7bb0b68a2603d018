"""The benchmark on a GPU, which has to work on the day when there is one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it takes minutes")
def test_without_a_gpu_it_does_all_of_it_in_tiny_sizes() -> None:
    made = subprocess.run([sys.executable, BENCHMARK], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    for text in ("there is none, so tiny sizes", "| vampprior_vae", "| vae backbone=resnet", "| aggregate_posterior"):
        assert text in made.stdout
    assert made.stdout.count("| yes") == 6
    difference = re.search(r"differ from the processor's by (\S+) at most", made.stdout)
    assert difference is not None
    assert float(difference[1]) < 1e-5

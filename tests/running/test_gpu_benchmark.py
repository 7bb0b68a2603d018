"""The benchmark on a GPU, which has to work on the day when there is one."""

import logging
import re
import runpy
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it takes minutes")
def test_without_a_gpu_it_does_all_of_it_in_tiny_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "disable", lambda _: None)  # for the tests that come after
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    out = capsys.readouterr().out
    for text in ("there is none, so tiny sizes", "| vampprior_vae", "| vae backbone=resnet", "| aggregate_posterior"):
        assert text in out
    assert out.count("| yes") == 6
    difference = re.search(r"differ from the processor's by (\S+) at most", out)
    assert difference is not None
    assert float(difference[1]) < 1e-5

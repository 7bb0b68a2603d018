"""Importing latentbench leaves torch as it was."""

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, torch
from torch.distributions import Distribution

def settings():
    return {
        "validate_args": Distribution._validate_args,
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "random numbers": torch.get_rng_state().tolist(),
    }

Distribution.set_default_validate_args(VALIDATE)
before = settings()
import latentbench
for module in pkgutil.walk_packages(latentbench.__path__, "latentbench."):
    if not module.name.endswith("__main__") and ".contracts." not in module.name:
        importlib.import_module(module.name)
changed = [name for name, value in settings().items() if value != before[name]]
assert not changed, changed

from latentbench.priors.flow import FlowPrior
FlowPrior(latent_size=2, shape=(1, 2, 2), transform="spline", transforms=1, hidden=[4])
assert Distribution._validate_args is VALIDATE, "unchanged although importing zuko changes it"
"""


def test_importing_every_module_changes_no_setting_of_torch() -> None:
    # Not torch's own default, so that setting this one would be noticed too.
    script = SCRIPT.replace("VALIDATE", "False")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

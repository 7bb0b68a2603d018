"""examples/plugin: a package with options of its own is installed, run, tabulated and checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
QUIET = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation")
BRIEF = ("seed=0", "trainer.max_epochs=1", "backbone.hidden=[16]", "logger=none")
# Three commands in one process, which imports torch once.
SCRIPT = f"""
import sys
from latentbench.cli import app, check, tables

def call(program, *arguments):
    sys.argv = ["latentbench", *arguments]
    try:
        code = program.main()
    except SystemExit as leaving:
        code = leaving.code
    assert not code, (arguments, code)

call(app, "-m", "sweep=energy", "method=energy_ae", *{BRIEF})
call(tables, "sweep=energy")
call(check, "data=stripes")
"""

pytestmark = pytest.mark.skipif(not PLUGIN.is_dir(), reason="this test needs a checkout")


def test_a_package_is_installed_and_its_options_are_run_tabulated_and_checked(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", *QUIET, "--target", site, PLUGIN]
    subprocess.run(install, check=True, timeout=300)
    # The checks are tests, whose coverage belongs to this package and not to ours.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLIPCOVER_")}
    environment = ours | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| energy_ae " in (tmp_path / "outputs" / "energy" / "table.md").read_text(encoding="utf-8")
    assert " passed" in done.stdout
    assert "failed" not in done.stdout

"""`latentbench-dashboard`: a study's Weights & Biases workspace."""

import sys
from collections.abc import Sequence

from latentbench.cli.command import run_command

HELP = """latentbench-dashboard: a study's Weights & Biases workspace, of the runs that are logged there.

Usage:
  latentbench-dashboard sweep=quick entity=me project=latentbench            makes it and prints where it is
  latentbench-dashboard sweep=quick entity=me project=latentbench --dry-run  prints what it would hold, asks nobody

entity, project  where the runs are, as logger.entity and logger.project of them; your default entity, latentbench
table.columns    of these, every fid/... is a panel of bars, one for all seeds of a method and its settings
table.figures    name -> {x: ..., y: ...}: a scatter panel each
table.samples    a panel of pictures each

Every call makes a new view of the project; W&B shows them under Workspaces. It takes
`pip install 'latentbench[dashboard]'` and a key (`wandb login`, or WANDB_API_KEY).
"""
DRY_RUN = "--dry-run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or W&B cannot be used."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    return run_command("latentbench-dashboard", lambda: _make(arguments))


def _make(arguments: Sequence[str]) -> None:
    # Imported here, so that --help is quick.
    from latentbench.configuration.compose import compose_config
    from latentbench.reporting.dashboard import make_dashboard

    make_dashboard(compose_config(to_overrides(arguments)), dry_run=DRY_RUN in arguments)


def to_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments in Hydra's terms."""
    short = ("entity=", "project=")
    return [f"logger.{word}" if word.startswith(short) else word for word in arguments if word != DRY_RUN]

"""`latentbench-dashboard`: a study's Weights & Biases workspace."""

from collections.abc import Sequence

from latentbench.cli.command import run_command

HELP = """latentbench-dashboard: a study's Weights & Biases workspace, with panels of its logged runs.

Usage:
  latentbench-dashboard sweep=quick entity=me project=latentbench            saves it and prints its address
  latentbench-dashboard sweep=quick entity=me project=latentbench --dry-run  prints its panels, does not contact W&B

entity, project  where the runs are logged (logger.entity, logger.project); default: $WANDB_ENTITY and $WANDB_PROJECT,
                 or else your default entity and latentbench
table.columns    a bar panel for each fid/..., with one bar for all seeds of a setting
table.figures    name -> {x: ..., y: ...}: a scatter panel each
table.samples    a panel of images each

Each call saves a new view; W&B lists them under Workspaces. Needs `pip install 'latentbench[dashboard]'` and an API
key (`wandb login`, or WANDB_API_KEY).
"""
DRY_RUN = "--dry-run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or W&B cannot be used."""
    return run_command("latentbench-dashboard", _make, arguments, help_text=HELP)


def _make(arguments: Sequence[str]) -> None:
    # Imported here, so that --help is quick.
    from latentbench.configuration.compose import compose_config
    from latentbench.reporting.dashboard import make_dashboard

    make_dashboard(compose_config(to_overrides(arguments)), dry_run=DRY_RUN in arguments)


def to_overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra overrides: `entity=me` is short for `logger.entity=me`."""
    short = ("entity=", "project=")
    return [f"logger.{word}" if word.startswith(short) else word for word in arguments if word != DRY_RUN]

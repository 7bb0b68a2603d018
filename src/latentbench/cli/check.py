"""`latentbench-check`: the contracts that latentbench's own options keep, checked on an option of yours."""

import importlib.util
import sys
from collections.abc import Sequence

from latentbench.cli.command import run_command
from latentbench.configuration.catalogue import GROUPS, PAIRED, existing_option_file, load_yaml
from latentbench.errors import UserError

HELP = """latentbench-check: the contracts that latentbench's own options keep, checked on an option of yours.

Usage:
  latentbench-check regularizer=mine                      of an installed package
  latentbench-check --config-dir conf regularizer=mine    of a folder
  latentbench-check sweep=mine                            a study

The option is tested with latentbench's own options of the other groups. For a posterior, a prior or a regularizer the
table of what it fits is shown. Needs `pip install 'latentbench[check]'`. Exit code 1: a contract is broken.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: every contract is kept; 1: one is not; 2: there is no such option."""
    return run_command("latentbench-check", _check, arguments, help_text=HELP)


def _check(arguments: list[str]) -> None:
    group, option = _named(arguments)
    if importlib.util.find_spec("pytest") is None:
        raise UserError("the checks need pytest: pip install 'latentbench[check]'")
    # Imported here, so that --help and errors are quick.
    from latentbench.compatibility.table import compatibility_table
    from latentbench.contracts.run import passes

    if not passes(group, option):
        sys.exit(1)
    if group in PAIRED:
        print(f"\nwhat {group}={option} fits\n\n{compatibility_table('simple', {group: [option]})}")


def _named(arguments: list[str]) -> tuple[str, str]:
    """The group and the option to check. Raises: UserError if there is no such option, or it cannot be imported."""
    from omegaconf import OmegaConf

    from latentbench.configuration.targets import locate

    group, _, option = arguments[0].partition("=")
    if len(arguments) > 1 or group not in GROUPS:
        raise UserError(f"{' '.join(arguments)}: give one <group>=<option>; the groups are {', '.join(GROUPS)}")
    target = OmegaConf.select(load_yaml(existing_option_file(group, option)), "_target_")
    if target is not None:
        locate(target)
    return group, option

"""The exit code and the error message of a command."""

import sys
from collections.abc import Callable

from latentbench.errors import UserError


def run_command(name: str, work: Callable[[], int | None]) -> int:
    """Call `work` and return its exit code, or 2 after a one-line message if the user can fix the error."""
    # Imported here, so that --help is quick.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from latentbench.configuration.messages import explain

    try:
        return work() or 0
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"{name}: {explain(error)}", file=sys.stderr)
        return 2

"""The exit code and the error message of a command."""

import sys
from collections.abc import Callable

from latentbench.errors import UserError


def run_command(name: str, work: Callable[[], None]) -> int:
    """Call `work` and return the exit code: 0, or 2 after a one-line message if the user can fix the error."""
    # Imported here, so that --help is quick.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from latentbench.configuration.messages import explain

    try:
        work()
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"{name}: {explain(error)}", file=sys.stderr)
        return 2
    return 0

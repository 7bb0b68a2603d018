"""How a command ends."""

import sys
from collections.abc import Callable

from latentbench.errors import UserError


def run_command(name: str, work: Callable[[], None]) -> int:
    """The exit code of `work`: 2, after one line that says why, if the command cannot be carried out as given."""
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

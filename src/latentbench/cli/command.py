"""The exit code, the error message and the output of a command."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator

from latentbench.errors import UserError


def run_command(name: str, work: Callable[[], int | None]) -> int:
    """Call `work` and return its exit code, or 2 after a one-line message if the user can fix the error."""
    # Imported here, so that --help is quick.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from latentbench.configuration.messages import explain

    try:
        with output_may_be_cut():
            return work() or 0
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        print(f"{name}: {explain(error)}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def output_may_be_cut() -> Iterator[None]:
    """Whoever reads the output of a command may stop early, as `head` does: the rest is dropped."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        state = select.poll()
        state.register(sys.stdout, 0)
        if not state.poll(0):  # it was another pipe
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends

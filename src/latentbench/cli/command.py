"""The exit code, the error message and the output of a command, and the folders of options that it names."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence

from latentbench.errors import UserError


def run_command(
    name: str,
    work: Callable[[list[str]], int | None],
    arguments: Sequence[str] | None,
    *,
    help_text: str | None,
    needs_arguments: bool = True,
) -> int:
    """Call `work` with the arguments, without those that name folders of options, which are searched from now on.

    arguments: None: those of the shell
    help_text: what --help prints; None: `work` takes this flag, too
    needs_arguments: without any, the help is printed
    Returns: the exit code of `work`, or 2 after a one-line message if the user can fix the error.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # some terminals cannot show every character
    if help_text and ({"-h", "--help"} & set(arguments) or (needs_arguments and not arguments)):
        with output_may_be_cut():
            print(help_text)
        return 0
    # Imported here, so that --help is quick.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from latentbench.configuration.catalogue import check_names
    from latentbench.configuration.folders import take_folders
    from latentbench.configuration.messages import explain

    try:
        others = take_folders(arguments)
        check_names()
        with output_may_be_cut():
            return work(others) or 0
    except (UserError, HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
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


def folders_and_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that name folders, with ~ expanded, and the others: flags and `key=value`.

    A path to a folder that is there may have an equals sign in it.
    """
    folders, words = [], []
    for argument in arguments:
        path = os.path.expanduser(argument)
        is_path = "=" not in argument or (os.sep in argument and os.path.isdir(path))
        if is_path and not argument.startswith("-"):
            folders.append(path)
        else:
            words.append(argument)
    return folders, words

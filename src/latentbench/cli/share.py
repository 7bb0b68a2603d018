"""`latentbench-share`: shares a trained run on the Hugging Face Hub, or as a folder."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from latentbench.cli.command import folders_and_words, run_command
from latentbench.errors import UserError

HELP = """latentbench-share: shares a trained run on the Hugging Face Hub.

Usage:
  latentbench-share outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d repo=me/vae-digits            sends it
  latentbench-share outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d repo=me/vae-digits --dry-run  only writes the folder

repo  the repository, which is made if there is none; `latentbench.load("hf://me/vae-digits")` opens it
out   with --dry-run, the new folder; by default the name of the repository. `latentbench.load(folder)` opens it

Shares the config, the weights, the record, pictures and a model card; no paths of this machine, nothing pickled.
Needs `pip install 'latentbench[hub]'` and a token that may write (`hf auth login`, or HF_TOKEN).
"""
DRY_RUN = "--dry-run"
KEYS = ("repo", "out")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command, the run or the Hub cannot be used."""
    return run_command("latentbench-share", _share, arguments, help_text=HELP)


def _share(arguments: Sequence[str]) -> None:
    is_dry = DRY_RUN in arguments
    folders, words = folders_and_words([word for word in arguments if word != DRY_RUN])
    values = dict(word.split("=", 1) for word in words)
    if unknown := sorted(values.keys() - set(KEYS)):
        raise UserError(f"{unknown[0]}: there is no such key; the keys are {', '.join(KEYS)}")
    if len(folders) != 1:
        raise UserError("name one run folder, such as outputs/adhoc/vae-digits-d8-b1-s0-1a2b3c4d")
    repo = values.get("repo", "").removeprefix("hf://")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UserError(f"repo={repo}: name the repository as <user or organization>/<name>, such as me/vae-digits")
    if "out" in values and not is_dry:
        raise UserError(f"out= is the folder that {DRY_RUN} writes: add {DRY_RUN}, or leave it out")

    # Imported here, so that --help and errors are quick.
    from latentbench import load
    from latentbench.cli.reproduce import command_of
    from latentbench.configuration.catalogue import TRAINING_GROUPS, own_options
    from latentbench.records.hub import PREFIX, upload
    from latentbench.reporting.shared_run import write_shared_run

    run = load(folders[0])
    _ = run.model  # what cannot be opened is not shared
    folder = Path(folders[0])
    is_own = all(run.record.choices.get(group) in (None, *own_options(group)) for group in TRAINING_GROUPS)
    command = command_of(run.record) if is_own else None  # others do not have the options of --config-dir
    if is_dry:
        out = Path(os.path.expanduser(values.get("out", repo.partition("/")[2])))
        if out.exists():
            raise UserError(f"{out} exists: name another folder with out=...")
        write_shared_run(folder, out, repo=repo, command=command)
        print(out)
        return
    with tempfile.TemporaryDirectory(prefix="latentbench-") as temporary:
        write_shared_run(folder, Path(temporary), repo=repo, command=command)
        print(f"{upload(Path(temporary), repo)}  ({PREFIX}{repo})")

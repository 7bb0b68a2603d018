"""`latentbench-restore`: continues a published study, without repeating its runs."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from latentbench.cli.command import folders_and_words, run_command
from latentbench.errors import UserError

HELP = """latentbench-restore: continues a published study, without repeating its runs.

Usage:
  latentbench-restore results/quick/digits                     writes the records to outputs/quick
  latentbench-restore results/tuned/* output_dir=/mnt/runs     several data sets, another folder

Then `latentbench -m sweep=quick` runs only what is not among them, such as a method of your own or more seeds, and
`latentbench-tables sweep=quick` makes one table of all.

Writes <output_dir>/<study>/<run>/record.json, and the images that the figures show. A run that has a record there keeps
it. No weights are published: a restored run is trained again if more is to be measured.
Exit code 1: some records cannot be used; all others are restored.
"""
OUTPUT_DIR = "output_dir="


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1: some records cannot be used; 2: the command or none of them can."""
    return run_command("latentbench-restore", _restore, arguments, help_text=HELP)


def _restore(arguments: Sequence[str]) -> int:
    from latentbench.records.store import left_out_message, restore  # not at the top, so that --help is quick

    folders, words = folders_and_words(arguments)
    given = [word.removeprefix(OUTPUT_DIR) for word in words if word.startswith(OUTPUT_DIR)]
    if unknown := [word for word in words if not word.startswith(OUTPUT_DIR)]:
        raise UserError(f"{unknown[0]}: there is no such key; the only one is output_dir")
    if not folders:
        raise UserError("name the folder of a published study, such as results/quick/digits")
    output_dir = Path(os.path.expanduser(given[-1] if given else "outputs"))
    restored: Counter[Path] = Counter()
    kept: Counter[Path] = Counter()
    unusable: list[UserError] = []
    for folder in folders:
        try:
            for done in restore(Path(folder), output_dir):
                if isinstance(done, UserError):
                    unusable.append(done)
                else:
                    run_dir, is_new = done
                    (restored if is_new else kept)[run_dir.parent] += 1
        except UserError as error:
            unusable.append(error)
    if unusable and not restored and not kept:
        raise unusable[0]
    for study in sorted({*restored, *kept}):
        print(f"{study}: {restored[study]} runs restored" + f", {kept[study]} were there" * (kept[study] > 0))
    for reason in unusable:
        print(f"latentbench-restore: {left_out_message(reason)}", file=sys.stderr)
    return int(bool(unusable))

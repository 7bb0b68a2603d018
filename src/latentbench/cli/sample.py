"""`latentbench-sample`: draws images from a trained run."""

import os
from collections.abc import Sequence
from pathlib import Path

from latentbench.cli.command import folders_and_words, run_command
from latentbench.errors import UserError, check_whole_number

HELP = """latentbench-sample: draws images from a trained run, into one picture.

Usage:
  latentbench-sample outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d
  latentbench-sample outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d n=64 sampler=gmm seed=0 out=samples.png

n        number of images
sampler  how the latents are drawn: an option of the group `sampler` (latentbench --help); all but `prior` are fitted
         to the latents of the training images
seed     of the random numbers
out      the PNG to write; images with other than 1 or 3 channels are shown in grey, the mean of their channels
"""
DEFAULTS = {"n": "64", "sampler": "prior", "seed": "0", "out": "samples.png"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or the run cannot be used."""
    return run_command("latentbench-sample", _sample, arguments, help_text=HELP)


def _sample(arguments: Sequence[str]) -> None:
    folders, words = folders_and_words(arguments)
    values = DEFAULTS | dict(word.split("=", 1) for word in words)
    if unknown := sorted(values.keys() - DEFAULTS):
        raise UserError(f"{unknown[0]}: there is no such key; the keys are {', '.join(DEFAULTS)}")
    if len(folders) != 1:
        raise UserError("name one run folder, such as outputs/adhoc/vae-digits-d8-b1-s0-1a2b3c4d")
    n, seed = (_whole_number(key, values[key], minimum) for key, minimum in (("n", 1), ("seed", 0)))
    out = Path(os.path.expanduser(values["out"]))
    if out.suffix.lower() != ".png":
        raise UserError(f"out={out}: give a file that ends in .png")

    # Imported here, so that --help and errors are quick.
    import latentbench
    from latentbench.evaluation.latent_views import to_uint8
    from latentbench.records.record import write_atomically
    from latentbench.reporting.image_grids import enlarge, image_grid, split_lines, to_png

    images = latentbench.load(folders[0]).sample(n, sampler=values["sampler"], seed=seed)
    write_atomically(out, to_png(enlarge(image_grid(split_lines(to_uint8(images)), ""))))
    print(out)


def _whole_number(key: str, text: str, minimum: int) -> int:
    return check_whole_number(key, int(text) if text.isdecimal() else text, minimum=minimum)  # type: ignore[arg-type]

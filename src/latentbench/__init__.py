"""A benchmark of ways to regularize the latent space of an autoencoder.

run = latentbench.load("outputs/quick/vae-digits-d8-b1-s0-1a2b3c4d")
images = run.sample(64, sampler="gmm")
study = latentbench.load_study("outputs/quick")
table = study.frame()
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentbench.evaluation.stored_run import StoredRun
    from latentbench.evaluation.stored_study import StoredStudy

__version__ = "0.1.0"
__all__ = ["load", "load_study"]


def load(folder: str | os.PathLike[str]) -> "StoredRun":
    """Open a trained run.

    folder: a run folder, or a repository of the Hugging Face Hub: `hf://me/vae-mnist`
    Raises: UserError if the folder is not that of a trained run, or the repository cannot be downloaded.
    """
    # Imported here, so that commands which need no torch start quickly.
    from latentbench.evaluation.stored_run import StoredRun
    from latentbench.records.hub import PREFIX, download

    if str(folder).startswith(PREFIX):
        return StoredRun.open(download(str(folder).removeprefix(PREFIX)))
    return StoredRun.open(Path(folder).expanduser())


def load_study(folder: str | os.PathLike[str]) -> "StoredStudy":
    """Open a study: its records and its trained runs. Raises: UserError if there is no record."""
    from latentbench.evaluation.stored_study import StoredStudy

    return StoredStudy(Path(folder).expanduser())

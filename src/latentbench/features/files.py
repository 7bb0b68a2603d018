"""Where files of weights are looked for that the user puts there."""

import os
from pathlib import Path

import torch

from latentbench.errors import UserError
from latentbench.records.user_cache import user_cache


def find(weights: str | None, file_name: str, *, option: str, source: str) -> Path:
    """The file of weights.

    weights: what the user named; None: `file_name` in $LATENTBENCH_DATA, the cache or torch's hub
    option, source: for the message, the key of the setting and where the file is to be had
    Raises: UserError if there is no such file.
    """
    if weights is not None:
        path = Path(os.path.expanduser(weights))
        if not path.is_file():
            raise UserError(f"{option}: weights={weights}: there is no such file")
        return path
    variable = os.environ.get("LATENTBENCH_DATA")
    folders = [Path(os.path.expanduser(variable))] if variable else []
    folders += [cache] if (cache := user_cache()) else []
    folders.append(Path(torch.hub.get_dir()) / "checkpoints")
    for folder in folders:
        if (folder / file_name).is_file():
            return folder / file_name
    searched = ", ".join(map(str, folders))
    raise UserError(f"{option}: no {file_name} in {searched}: fetch it from {source}, or set its weights=<file>")

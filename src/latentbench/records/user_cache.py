"""The folder where files are kept between runs: downloaded data, and features that take long to compute."""

from pathlib import Path

import pooch


def user_cache() -> Path | None:
    """latentbench's folder in the user's cache; None if the system knows no home folder."""
    try:
        folder = Path(pooch.os_cache("latentbench"))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None

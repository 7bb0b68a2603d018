"""Runs in repositories of the Hugging Face Hub, through the package huggingface_hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from omegaconf import OmegaConf

from latentbench.configuration.catalogue import option_targets
from latentbench.errors import UserError
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, load
from latentbench.records.run_folder import CONFIG_NAME, load_config

PREFIX = "hf://"


def upload(folder: Path, repo: str) -> str:
    """Send the files of a folder to a repository in one commit; the repository is created if there is none.

    Returns: its address. Raises: UserError if that is not possible.
    """
    with _errors_as_one_line(repo):
        from huggingface_hub import CommitOperationAdd, HfApi

        files = sorted(path for path in folder.rglob("*") if path.is_file())
        operations = [
            CommitOperationAdd(path_in_repo=path.relative_to(folder).as_posix(), path_or_fileobj=path) for path in files
        ]
        hub = HfApi(library_name="latentbench")
        address = str(hub.create_repo(repo, exist_ok=True))
        hub.create_commit(repo, operations=operations, commit_message="Share a run of latentbench")
    return address


def download(repo: str) -> Path:
    """Download the config, the record and the weights of a run, unless the cache has them. Returns: their folder.

    Raises: UserError if that is not possible, or if the settings name classes that are no options.
    """
    with _errors_as_one_line(repo):
        from huggingface_hub import hf_hub_download

        folder = Path(hf_hub_download(repo, CONFIG_NAME)).parent
        for name in (FILE_NAME, WEIGHTS_NAME):
            hf_hub_download(repo, name, revision=folder.name)  # of the same commit
    _check_targets(folder, repo)
    return folder


def _check_targets(folder: Path, repo: str) -> None:
    """Building a part calls what its settings name, so that settings by somebody else may only name known classes.

    Raises: UserError if they name any other.
    """
    known = option_targets()
    parts = [OmegaConf.to_container(load_config(folder)), load(folder / FILE_NAME).config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            parts += part.values()
            target = part.get("_target_")
            if target is not None and str(target) not in known:
                raise UserError(f"{PREFIX}{repo}: {target} is not an option of latentbench or of an installed plug-in")
        elif isinstance(part, list):
            parts += part
        elif isinstance(part, str) and "${" in part:  # which can become anything
            raise UserError(f"{PREFIX}{repo}: its settings have the interpolation {part}, which no run writes")


@contextmanager
def _errors_as_one_line(repo: str) -> Iterator[None]:
    """Raises: UserError in place of the errors of huggingface_hub."""
    try:
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
        from huggingface_hub.utils import httpx
    except ImportError as error:
        raise UserError(f"{PREFIX}{repo} needs huggingface_hub ({error}): pip install 'latentbench[hub]'") from error
    try:
        yield
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        # A failed download is reported as a file that the cache lacks, with the failure as its cause.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        token = "log in with `hf auth login`, or set HF_TOKEN"
        if isinstance(cause, HFValidationError):
            reason = f"that is not the name of a repository, such as me/vae-mnist ({cause})"
        elif isinstance(cause, RepositoryNotFoundError):
            reason = f"there is no such repository, or it is private: {token}"
        elif isinstance(cause, HfHubHTTPError) and cause.response.status_code in (401, 403):
            reason = f"your token was refused: {token}"
        elif isinstance(cause, EntryNotFoundError) and isinstance(cause, HfHubHTTPError):
            reason = f"that repository is not a run of latentbench: it has no {PurePath(cause.response.url.path).name}"
        elif isinstance(cause, HfHubHTTPError):
            reason = f"the Hub answered with an error ({_first_line(cause)}); try again later"
        elif isinstance(cause, httpx.HTTPError):
            reason = f"the Hugging Face Hub cannot be reached ({_first_line(cause)})"
        else:
            reason = _first_line(cause)
        raise UserError(f"{PREFIX}{repo}: {reason}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__

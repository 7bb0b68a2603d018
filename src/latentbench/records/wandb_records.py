"""Reads the records of a study from a Weights & Biases project, to which `logger=wandb` wrote them."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from latentbench.errors import UserError
from latentbench.records import wandb_keys
from latentbench.records.record import Record, parse
from latentbench.records.store import left_out_message, validate

if TYPE_CHECKING:
    import wandb

TIMEOUT = 20  # seconds to wait for a response


def load_wandb_records(entity: str | None, project: str, study: str) -> tuple[list[Record], list[str]]:
    """The records of a study's W&B runs, and a message for each unusable one.

    If a run was logged more than once, the last finished record counts, or the last record if none is finished.

    Raises: UserError if W&B cannot be reached, rejects the key or has no such project.
    """
    records: dict[str, Record] = {}
    unusable = []
    for run in _runs(entity, project, study):
        try:
            text = run.summary_metrics.get(wandb_keys.RECORD)
            if text is None:
                raise UserError(f"{run.url} has no record: it has not ended, or an older version logged it")
            record = validate(parse(text, run.url), run.url)
        except UserError as error:
            unusable.append(left_out_message(error))
            continue
        earlier = records.get(record.run_id)
        if earlier is None or record.status == "finished" or earlier.status != "finished":
            records[record.run_id] = record
    return [records[name] for name in sorted(records)], unusable


def _runs(entity: str | None, project: str, study: str) -> list[Any]:
    """The W&B runs of a study, the oldest first."""
    path = "/".join(filter(None, (entity, project)))
    with wandb_errors_explained(f"from=wandb, {path}"):
        filters = wandb_keys.study_filter(study)
        return list(wandb_api().runs(path, filters=filters, order="+created_at", per_page=200, lazy=False))


def wandb_api() -> "wandb.Api":
    """W&B's API, logged in. Raises: UserError if there is no key; errors of W&B pass through."""
    import wandb  # not at the top: the import takes half a second, and most tables do not need it

    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=True):
        raise UserError("you are not logged in to W&B: `wandb login`, or set WANDB_API_KEY")
    return wandb.Api(timeout=TIMEOUT)


@contextlib.contextmanager
def wandb_errors_explained(context: str) -> Iterator[None]:
    """Turn any error (W&B raises those of many packages) into a UserError of one line that starts with `context`."""
    try:
        yield
    except Exception as error:
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{context}: {reason}") from error

"""A study's records out of a Weights & Biases project, as `logger=wandb` leaves them there."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from latentbench.errors import UserError
from latentbench.records.record import Record, parse
from latentbench.records.store import left_out_line, validate

if TYPE_CHECKING:
    import wandb

PATIENCE = 20  # seconds, for an answer


def load_wandb_records(entity: str | None, project: str, study: str) -> tuple[list[Record], list[str]]:
    """The records of a study's W&B runs, and a line on each that cannot be used.

    Of a run that was logged more than once it is the last, a finished one before all others.

    Raises: UserError if W&B cannot be reached, does not take the key or has no such project.
    """
    kept: dict[str, Record] = {}
    unusable = []
    for run in _runs(entity, project, study):
        try:
            text = run.summary_metrics.get("record")
            if text is None:
                raise UserError(f"{run.url} holds no record: it has not ended, or was logged by an older version")
            record = validate(parse(text, run.url), run.url)
        except UserError as error:
            unusable.append(left_out_line(error))
            continue
        before = kept.get(record.run_id)
        if before is None or record.status == "finished" or before.status != "finished":
            kept[record.run_id] = record
    return [kept[name] for name in sorted(kept)], unusable


def _runs(entity: str | None, project: str, study: str) -> list[Any]:
    """The W&B runs of a study, the first logged first."""
    path = "/".join(filter(None, (entity, project)))
    with explained(f"from=wandb, {path}"):
        found = connected().runs(path, filters={"group": study}, order="+created_at", per_page=200, lazy=False)
        return list(found)


def connected() -> "wandb.Api":
    """W&B's API, logged in. Raises: UserError without a key, and what W&B raises."""
    import wandb  # here alone: it takes half a second to import, which every other table would wait for

    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=True):
        raise UserError("you are not logged in to W&B: `wandb login`, or set WANDB_API_KEY")
    return wandb.Api(timeout=PATIENCE)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Raises: UserError, of one line, for whatever W&B raises: of many kinds, not all of them its own."""
    try:
        yield
    except Exception as error:
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{what}: {reason}") from error

"""How a model's weights are trained, whatever its loss: optimizer, learning rates, gradients, averages, and its end."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from latentbench.errors import UserError, check_number, check_whole_number
from latentbench.optimizers.base import Betas, Optimizer
from latentbench.schedules.base import Schedule

KEEP = ("last", "best")
BETAS: Betas = (0.9, 0.999)  # of Kingma & Ba 2015


class PlayerWeights(NamedTuple):
    """What one player of a model trains, and with which settings of the model."""

    weights: list[Tensor]
    learning_rate: float
    betas: Betas  # of Adam and its kin


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The groups `optimizer` and `schedule`, and the keys of `trainer` that are not Lightning's.

    gradient_clip: the largest norm of a player's gradient; None: any
    ema: decay per step of an exponential moving average of weights, which is measured; None: no average
    accumulate: batches of a player whose gradients are averaged to one step
    patience: epochs without a new smallest validation loss after which the training ends; None: it goes on
    keep: which weights are measured, those after the `last` epoch or those of the `best` validation loss
    Raises: UserError for a value that is not one of these.
    """

    optimizer: Optimizer
    schedule: Schedule
    gradient_clip: float | None
    ema: float | None
    accumulate: int
    patience: int | None
    keep: str

    def __post_init__(self) -> None:
        if self.gradient_clip is not None:
            check_number("trainer.gradient_clip", self.gradient_clip, above=0)
        if self.ema is not None:
            check_number("trainer.ema", self.ema, above=0, below=1)
        check_whole_number("trainer.accumulate", self.accumulate, minimum=1)
        if self.patience is not None:
            check_whole_number("trainer.patience", self.patience, minimum=1)
        if self.keep not in KEEP:
            raise UserError(f"trainer.keep={self.keep}: choose one of {', '.join(KEEP)}")

    @property
    def reads_validation(self) -> str | None:
        """The setting that needs a validation loss; None if none does."""
        if self.schedule.follows_validation:
            return "the schedule"
        if self.patience is not None:
            return f"trainer.patience={self.patience}"
        return "trainer.keep=best" if self.keep == "best" else None

    def has_ended(self, losses: Sequence[float]) -> bool:
        """Whether the training ends before its last epoch, given the validation loss after each epoch so far."""
        return self.patience is not None and len(losses) - 1 - best_epoch(losses) >= self.patience


def best_epoch(losses: Sequence[float]) -> int:
    """The number, from 0, of the first epoch of the smallest loss; -1 if there are no losses."""
    return min(range(len(losses)), key=losses.__getitem__, default=-1)


def convergence(losses: Sequence[float]) -> dict[str, Any] | None:
    """By how much the validation loss was still falling in the end; None if there is none.

    falling = mean(losses of the last but one tenth of the epochs) - mean(losses of the last tenth)
    The training had converged if this is at most a hundredth of all that the loss has fallen since the first epoch.
    That cannot be told (None) of fewer than ten epochs, or of a loss that was never below that of the first epoch.
    Units: those of the loss, per 10 % of the training.
    """
    if not losses:
        return None
    tenth, fallen = round(len(losses) / 10), losses[0] - min(losses)
    found = {"validation_loss": losses[-1], "falling": None, "fallen": fallen, "converged": None}
    if len(losses) < LEAST_EPOCHS:
        return found
    falling = (sum(losses[-2 * tenth : -tenth]) - sum(losses[-tenth:])) / tenth
    return found | {"falling": falling, "converged": falling <= CONVERGED * fallen if fallen > 0 else None}


LEAST_EPOCHS = 10  # of which it can be told
CONVERGED = 0.01  # of all that the loss has fallen, per 10 % of the training

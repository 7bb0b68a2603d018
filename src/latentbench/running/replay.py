"""Training steps that are recorded once and replayed: as a CUDA graph on a GPU, as a tape on a processor."""

import itertools
from collections import Counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from latentbench.errors import UserError
from latentbench.models.base import GenerativeModel
from latentbench.models.recipe import Recipe
from latentbench.running.cuda_graph import CudaGraph, Function
from latentbench.running.tape import CheckedReplay, Tape
from latentbench.running.watch import Watch, state_of

WARM_UP = 3  # ordinary steps of each kind before one is recorded; the first makes the states of the optimizers
RECORDERS: dict[str, type[CudaGraph] | type[Tape]] = {"cuda": CudaGraph, "cpu": Tape}


class ReplayedSteps(pl.Callback):
    """Makes training steps replays of a recorded one, unless a part of the model does not allow it.

    `model.done.replay` says whether it did, and if not, why.
    is_wanted: false for ordinary steps
    """

    def __init__(self, is_wanted: bool) -> None:
        if type(is_wanted) is not bool:
            raise UserError(f"replay={is_wanted}: give true or false")
        self.is_wanted = is_wanted

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the replays in the place of the model's `learn`."""
        assert isinstance(pl_module, GenerativeModel)
        device = trainer.strategy.root_device.type
        pl_module.done.replay = None  # a checkpoint's is of the steps before it
        if not self.is_wanted or device not in RECORDERS:
            return
        if reason := reason_against(trainer, pl_module.recipe):
            pl_module.done.replay = f"no: {reason}"
            return
        for group in itertools.chain(*(optimizer.param_groups for optimizer in trainer.optimizers)):
            group["capturable"] = True
            if not pl_module.recipe.schedule.is_constant:  # a replay reads the learning rate where the last one was
                # CUDA's kernels read it in single precision; on a processor it has all digits.
                dtype = torch.float32 if device == "cuda" else torch.float64
                group["lr"] = torch.as_tensor(group["lr"], dtype=dtype, device=group["params"][0].device)
        pl_module.done.replay = "yes"
        pl_module.learn = Steps(pl_module, RECORDERS[device]())  # type: ignore[method-assign]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the last steps, so that no checkpoint, of which there is one in the end, has what replays did wrong."""
        if isinstance(steps := vars(pl_module).get("learn"), Steps):
            steps.check()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the model its own `learn` back, and free what was recorded."""
        assert isinstance(pl_module, GenerativeModel)
        pl_module.__dict__.pop("learn", None)
        pl_module.done.scheduled_number = None


def reason_against(trainer: pl.Trainer, recipe: Recipe) -> str | None:
    """Why the steps of a training stay ordinary ones, whatever the parts of its model."""
    if trainer.world_size > 1:
        return "several devices share each batch"
    if trainer.precision == "16-mixed":
        return "trainer.precision=16-mixed looks at the gradients of each step"
    if trainer.strategy.root_device.type == "cpu" and torch.get_num_threads() > 1:
        return "the last digits of a step may differ with several threads, so that a replay could not be checked"
    if torch.is_anomaly_enabled():
        return "trainer.detect_anomaly looks at each operation of a step"
    if not recipe.optimizer.is_capturable:
        return f"the processor takes part in a step of {type(recipe.optimizer).__name__}"
    if recipe.accumulate > 1:
        return "trainer.accumulate counts batches on the processor"
    return None


class Steps:
    """A model's `learn`, replayed for each shape of a batch and each kind of step.

    A replay repeats the operations of the step that was recorded, with the same weights: nothing that the processor
    decides, counts or waits for would change. So the steps before it are watched, and if one does such a thing, all
    steps stay ordinary ones.
    """

    def __init__(self, model: GenerativeModel, recorder: CudaGraph | Tape) -> None:
        self.model = model
        self.recorder = recorder
        self.learn = model.learn
        self.seen: Counter[Any] = Counter()
        self.replays: dict[Any, tuple[Function, list[str]]] = {}  # and the names of the loss terms
        self.moments: dict[Any, tuple[int, float]] = {}  # batches and share at the last replay
        self.names: list[str] = []  # of the last ordinary step
        self.number = float("nan")  # the schedule's, as the device has it
        # Whose seconds those of a replay are: steps of several players are one.
        self.player = model.players[0] if len(model.trainer.optimizers) == 1 else "all"

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        """Take a step. Returns its loss terms, scalars."""
        done = self.model.done
        if done.replay != "yes":
            return self.learn(batch)
        self._tell_number(batch)
        kind = batch.shape, self.model.kind_of_step()
        if kind in self.replays:
            replay, names = self.replays[kind]
            self.moments[kind] = done.batches, done.share
            terms = replay(batch)
            done.end_step(self.player)
        else:
            self.seen[kind] += 1
            if self.seen[kind] <= WARM_UP:
                with self.recorder.warm_up():
                    return self._ordinary_step(batch, is_first=self.seen[kind] == 1)
            terms, replay = self.recorder.record(self._step, batch)
            names = self.names
            self.replays[kind] = replay, names
        if self.recorder.reason:
            self._stay_ordinary(self.recorder.reason)
        return dict(zip(names, terms.unbind(), strict=True))

    def check(self) -> None:
        """Compare the last replay of each kind with an ordinary step. Raises: UserError if they differ."""
        done = self.model.done
        if done.replay != "yes":
            return
        now, seconds = (done.batches, done.share), dict(done.seconds)
        with self.model.trainer.precision_plugin.train_step_context(), torch.enable_grad():
            for kind, (replay, _) in self.replays.items():
                if isinstance(replay, CheckedReplay) and kind in self.moments:
                    done.batches, done.share = self.moments[kind]
                    replay.check_last()
        (done.batches, done.share), done.seconds = now, seconds

    def _tell_number(self, batch: Tensor) -> None:
        """Bring the schedule's number to the device, where replays read it."""
        number, done = self.model.scheduled_number(), self.model.done
        if done.scheduled_number is None:
            done.scheduled_number = torch.zeros((), dtype=batch.dtype, device=batch.device)
        if number != self.number:
            done.scheduled_number.fill_(number)
            self.number = number

    def _ordinary_step(self, batch: Tensor, *, is_first: bool) -> dict[str, Tensor]:
        if is_first:  # makes the states of the optimizers and other things that are kept
            return self.learn(batch)
        before = state_of(self.model)
        with Watch() as watch:
            terms = self.learn(batch)
        changed = next((name for name, value in state_of(self.model).items() if before.get(name) != value), None)
        reason = watch.reason or (changed and f"every step changes {changed} on the processor")
        if reason:
            self._stay_ordinary(reason)
        return terms

    def _stay_ordinary(self, reason: str) -> None:
        self.check()
        self.model.done.replay = f"no: {reason}"
        self.model.done.scheduled_number = None
        self.replays.clear()

    def _step(self, images: Tensor) -> Tensor:
        """An ordinary step. Returns its loss terms in one tensor."""
        terms = self.learn(images)
        self.names = list(terms)
        return torch.stack([term.detach() for term in terms.values()])

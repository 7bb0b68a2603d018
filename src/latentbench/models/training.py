"""How a model is trained: chunks of batches, each player's steps, averages and the losses of an epoch."""

import math
import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from latentbench.data.base import Chunks
from latentbench.errors import Diverged, check_number
from latentbench.models.player import PlayerMemory
from latentbench.models.recipe import PlayerWeights, Recipe, best_epoch


class Done:
    """What is done of the training when a batch begins. No attributes of a module, since setting these takes long."""

    batches = 0
    share = 0.0  # of the whole training, from 0 to 1
    scheduled_number: Tensor | None = None  # that of the model on the device, where replayed steps read it
    replay: str | None = None  # whether steps are replays of a recorded one; if not, why; None: it was not asked for
    time = 0.0  # seconds, at the end of the last step, or when the batch began

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # player -> of its steps, since this process began to train
        self.losses: dict[str, float] = {}  # `stage/name` -> mean of a loss term over the last epoch
        self.validation_losses: list[float] = []  # after each epoch

    def end_step(self, player: str) -> None:
        """Stop the clock of a step."""
        now = time.perf_counter()
        self.seconds[player] = self.seconds.get(player, 0.0) + now - self.time
        self.time = now


class TrainedModel(pl.LightningModule):
    """A module that learns from batches as its recipe says, by one optimizer for each of its players."""

    # What each optimizer trains, in their order: the maker of images first. `budget` names them so.
    players: ClassVar[tuple[str, ...]] = ("model", "critic")

    # There may be several optimizers, each for its own parameters: training steps call them explicitly.
    automatic_optimization = False

    recipe: Recipe  # how its weights are trained; set before the training

    def __init__(self, **learning_rates: float) -> None:
        super().__init__()
        for name, rate in learning_rates.items():
            check_number(f"model.{name}", rate, above=0)
        # `stage/name` -> (term, images) of this epoch's batches
        self._terms: dict[str, list[tuple[Tensor | float, int]]] = {}
        self.done = Done()
        self._memories: dict[str, PlayerMemory] = {}  # of players whose steps remember more than their optimizer does
        self._best: dict[str, Tensor] | None = None  # with `trainer.keep=best`: the weights of the best epoch
        self.last_weights: dict[str, Tensor] | None = None  # of the last step, if others are measured
        self._resumed: dict[str, Any] = {}  # of a checkpoint

    @abstractmethod
    def learn(self, batch: Tensor) -> dict[str, Tensor]:
        """Take one step of each optimizer, by `minimize`, on a batch (B, C, H, W). Returns the loss terms, scalars."""

    @abstractmethod
    def weights_of_players(self) -> list[PlayerWeights]:
        """What each player trains, in the order of `players`; those at the end may be missing."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizer of each player, as the recipe makes it."""
        found, recipe = self.weights_of_players(), self.recipe
        if recipe.accumulate > 1 or recipe.gradient_clip is not None or recipe.ema is not None:
            named = zip(self.players, found, strict=False)
            self._memories = {name: PlayerMemory(player.weights, recipe) for name, player in named}
        for name, state in self._resumed.get("memories", {}).items():
            self._memories[name].load_state_dict(state)
        return [
            recipe.optimizer.make(player.weights, learning_rate=player.learning_rate, betas=player.betas)
            for player in found
        ]

    def scheduled_number(self) -> float:
        """What the schedule of the training gives for this step, such as the weight of the regularizer."""
        return 0.0

    @property
    def follows_progress(self) -> bool:
        """Whether the scheduled number depends on the share of the training that is done, and so on its length."""
        return type(self).scheduled_number is not TrainedModel.scheduled_number

    def kind_of_step(self) -> bool:
        """Steps of one kind do the same operations. Those of a model whose players take turns differ."""
        return True

    def on_train_start(self) -> None:
        """Take the optimizers without Lightning's wrapper, which takes as long as the step of a small network."""
        # Only the wrapper scales gradients for trainer.precision=16-mixed.
        self._is_scaled = self.trainer.precision == "16-mixed"
        optimizers: Any = self.optimizers(use_pl_optimizer=self._is_scaled)
        in_order = optimizers if isinstance(optimizers, list) else [optimizers]
        self._optimizers = dict(zip(self.players, in_order, strict=False))
        if self.recipe.has_ended(self.done.validation_losses):  # before an interruption
            self.trainer.should_stop = True

    def training_step(self, chunk: Iterable[Tensor], batch_idx: int) -> None:
        """Learn from every batch of a chunk."""
        chunks = self.trainer.train_dataloader
        assert isinstance(chunks, Chunks)
        done, per_epoch, epoch, epochs = self.done, chunks.n_batches, self.current_epoch, self.trainer.max_epochs
        for index, batch in enumerate(chunk, start=batch_idx * chunks.size):
            done.batches = epoch * per_epoch + index
            done.share = (epoch + index / per_epoch) / (epochs or 1)
            done.time = time.perf_counter()
            if not self.recipe.schedule.is_constant:
                self._set_learning_rates(self.recipe.schedule.factor(done.share, done.validation_losses))
            self.accumulate_terms("train", self.learn(batch.to(self.dtype)), len(batch))

    def _set_learning_rates(self, factor: float) -> None:
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                rate = float(optimizer.defaults["lr"]) * factor
                if isinstance(group["lr"], Tensor):  # which a replay reads
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def minimize(self, loss: Tensor, *, player: str) -> None:
        """Minimize the loss by one step of the player's optimizer, or keep its gradient for a step with later ones."""
        optimizer = self._optimizers[player]
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        if self._is_scaled:
            self.manual_backward(loss)
        else:
            self.trainer.strategy.pre_backward(loss)  # several processes share gradients
            loss.backward()
        memory = self._memories.get(player)
        if memory is None:
            optimizer.step()
        elif memory.is_due():
            optimizer.step()
            memory.average()
        torch.clear_autocast_cache()  # of half-precision weights: the next loss needs the new ones
        self.done.end_step(player)

    def accumulate_terms(self, stage: str, terms: dict[str, Tensor], n: int) -> None:
        """Keep the loss terms of a batch of n images, scalars, for their means over the epoch."""
        for name, term in terms.items():
            # On a processor as numbers: small tensors between large ones that come and go keep memory from reuse.
            kept = term.item() if term.is_cpu else term.detach()
            self._terms.setdefault(f"{stage}/{name}", []).append((kept, n))

    def on_train_epoch_end(self) -> None:
        """Log the means of the loss terms over the epoch. Raises: Diverged if one of them is not finite."""
        means = {}
        for name, kept in self._terms.items():
            terms, sizes = zip(*kept, strict=True)
            weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
            is_on_device = isinstance(terms[0], Tensor)
            values = torch.stack(terms).cpu().double() if is_on_device else torch.tensor(terms, dtype=torch.float64)
            means[name] = (values @ weights).item()  # on the CPU, since not every device has float64
        self._terms.clear()
        for name, value in means.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} became {value} in epoch {self.current_epoch + 1}")
        self.done.losses = means
        # Not by `log_dict`, which takes as long as two steps of a small network.
        for logger in self.loggers:
            logger.log_metrics({**means, "epoch": self.current_epoch}, step=self.done.batches + 1)
        if "validation/loss" in means:
            self._end_epoch(self.trainer.strategy.broadcast(means["validation/loss"]))

    def _end_epoch(self, validation_loss: float) -> None:
        """Keep the weights of the best epoch, and end the training if it is time."""
        losses = self.done.validation_losses
        losses.append(validation_loss)
        if self.recipe.keep == "best" and best_epoch(losses) == len(losses) - 1:
            self._best = self._averaged_state()
        if self.recipe.has_ended(losses):
            self.trainer.should_stop = True

    def _averaged_state(self) -> dict[str, Tensor]:
        """A copy of the weights, averaged where they are, on the CPU."""
        self._exchange_averages()
        state = _copy_on_cpu(self.state_dict())
        self._exchange_averages()
        return state

    def _exchange_averages(self) -> None:
        for memory in self._memories.values():
            memory.exchange()

    def on_validation_start(self) -> None:
        """Validate the averages, which are what is measured."""
        self._exchange_averages()

    def on_validation_end(self) -> None:
        self._exchange_averages()

    def take_measured_weights(self) -> None:
        """After the training: take the weights that are measured; other weights of the last step are kept."""
        if self._best is None and self.recipe.ema is None:
            return
        measured = self._averaged_state() if self._best is None else self._best
        self.last_weights = _copy_on_cpu(self.state_dict())
        self.load_state_dict(measured)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the steps remember, what was told of them, the validation losses and the best weights."""
        checkpoint["recipe"] = {
            "seconds": self.done.seconds,
            "replay": self.done.replay,
            "memories": {player: memory.state_dict() for player, memory in self._memories.items()},
            "validation_losses": self.done.validation_losses,
            "best": self._best,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was saved; the optimizers, which the memories belong to, are made later."""
        self._resumed = checkpoint["recipe"]
        self.done.seconds, self.done.replay = dict(self._resumed["seconds"]), self._resumed["replay"]
        self.done.validation_losses = list(self._resumed["validation_losses"])
        self._best = self._resumed["best"]

    def budget(self) -> dict[str, Any]:
        """Steps of every player in the whole training, none before it, and the seconds they took.

        The seconds of a step are those since the step before it, of the same batch; on a GPU they are those of the
        processor, which does not wait for the device. Replayed steps of several players are one.
        """
        steps = {
            player: max((int(state["step"]) for state in optimizer.state.values()), default=0)
            for player, optimizer in zip(self.players, self._trainer.optimizers if self._trainer else [], strict=False)
        }
        budget = {"steps": steps, "step_seconds": {player: round(s, 3) for player, s in self.done.seconds.items()}}
        return budget if self.done.replay is None else budget | {"replay": self.done.replay}


def _copy_on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().to("cpu", copy=True) for name, weight in state.items()}

"""One run on several devices: each process computes the networks for a part of every batch."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from latentbench.errors import Refused
from latentbench.models.base import GenerativeModel

STRATEGY = "ddp_find_unused_parameters_true"  # the only Lightning strategy with which SplitBatch gives right gradients


class SplitBatch(pl.Callback):
    """Makes each of n processes compute encoder and decoder for every n-th row of a batch and share its outputs.

    Everything else each process computes for the whole batch: it has all images, codes and decoder outputs in order,
    and draws the same random numbers. So losses that couple the images of a batch, critics, learned priors and
    rejection sampling are those of a single process, and so are the gradients after averaging over the processes.
    Does nothing in a single process. Raises: Refused if a network mixes the rows of a batch or draws random numbers.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Wrap the forward of encoder and decoder."""
        assert isinstance(pl_module, GenerativeModel)
        self.networks = [pl_module.backbone.encoder, pl_module.backbone.decoder] if trainer.world_size > 1 else []
        for network in self.networks:
            for layer in network.modules():
                if isinstance(layer, _NormBase | _DropoutNd):
                    name = type(layer).__name__
                    raise Refused(f"{name} gives other outputs on a part of a batch: take trainer=default")
            network.forward = split_rows(network.forward)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises: RuntimeError if the random number generators of the processes differ."""
        if not self.networks:
            return
        state = torch.get_rng_state()
        if torch.cuda.is_available():
            state = torch.cat([state, torch.cuda.get_rng_state()])
        state = state.to(trainer.strategy.root_device)
        states = [torch.empty_like(state) for _ in range(distributed.get_world_size())]
        distributed.all_gather(states, state)
        if not all(other.equal(state) for other in states):
            raise RuntimeError("the processes of this run draw different random numbers: its loss is meaningless")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the forward of encoder and decoder."""
        for network in self.networks:
            del network.forward


def split_rows(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function that maps rows (N, ...) -> (N, ...) one by one, its rows divided among all processes."""

    def divided(rows: Tensor) -> Tensor:
        if len(rows) < distributed.get_world_size():  # some processes would have no row: each computes all
            return forward(rows)
        gathered: Tensor = GatherRows.apply(forward(SplitRows.apply(rows)), len(rows))  # type: ignore[no-untyped-call]
        return gathered

    return divided


# Outside of the networks every process has the gradient of the loss. Inside, a process has n times the gradient of its
# rows' contribution: the mean over n processes, which Lightning takes of the weights' gradients, is then the sum over
# all rows. Each of the two functions is the derivative of the other up to this factor, to any order.


class SplitRows(Function):
    """All rows (N, ...) -> the rows of this process (M, ...), every n-th."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.n_rows = len(rows)
        return rows[distributed.get_rank() :: distributed.get_world_size()].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gathered: Tensor = GatherRows.apply(gradient, ctx.n_rows)  # type: ignore[no-untyped-call]
        return gathered / distributed.get_world_size()


class GatherRows(Function):
    """The rows of this process (M, ...) -> the N rows (N, ...) of all processes, in their original order."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, n_rows: int) -> Tensor:
        n_processes = distributed.get_world_size()
        padding = -(-n_rows // n_processes) - len(part)  # the last processes may have one row less
        part = torch.cat([part, part.new_zeros(padding, *part.shape[1:])])
        parts = [torch.empty_like(part) for _ in range(n_processes)]
        distributed.all_gather(parts, part)
        return torch.stack(parts, 1).flatten(0, 1)[:n_rows]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        part: Tensor = SplitRows.apply(gradient)  # type: ignore[no-untyped-call]
        return part * distributed.get_world_size(), None

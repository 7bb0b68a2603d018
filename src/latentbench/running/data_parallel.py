"""One run in several processes: each takes a share of every batch through the networks."""

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

STRATEGY = "ddp_find_unused_parameters_true"  # the one strategy of Lightning's that this is right with


class Shares(pl.Callback):
    """Has every process take each n-th row of a batch through encoder and decoder, and give the others what comes out.

    All else every process does alike, for the whole batch: it has all images, codes and raw outputs in their order,
    and draws the same random numbers. So losses that couple the images of a batch, critics, learned priors and samples
    by rejection are those of a single process, and so are the gradients, once the processes' are averaged.
    Does nothing where there is one process. Raises: Refused where a network looks at other rows or draws numbers.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Share the networks out."""
        assert isinstance(pl_module, GenerativeModel)
        self.networks = [pl_module.backbone.encoder, pl_module.backbone.decoder] if trainer.world_size > 1 else []
        for network in self.networks:
            for layer in network.modules():
                if isinstance(layer, _NormBase | _DropoutNd):
                    name = type(layer).__name__
                    raise Refused(f"{name} of a share of a batch is another than of the batch: take trainer=default")
            network.forward = in_shares(network.forward)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises: RuntimeError if the processes do not draw the same numbers any more."""
        if not self.networks:
            return
        state = torch.get_rng_state()
        if torch.cuda.is_available():
            state = torch.cat([state, torch.cuda.get_rng_state()])
        state = state.to(trainer.strategy.root_device)
        states = [torch.empty_like(state) for _ in range(distributed.get_world_size())]
        distributed.all_gather(states, state)
        if not all(other.equal(state) for other in states):
            raise RuntimeError("the processes of this run do not draw the same random numbers: its loss means nothing")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the networks back."""
        for network in self.networks:
            del network.forward


def in_shares(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of rows (N, ...) -> (N, ...), one by one, worked out by all processes together."""

    def shared(rows: Tensor) -> Tensor:
        if len(rows) < distributed.get_world_size():  # some would have none: all take all
            return forward(rows)
        whole: Tensor = Whole.apply(forward(Share.apply(rows)), len(rows))  # type: ignore[no-untyped-call]
        return whole

    return shared


# Outside of the networks a gradient is the loss's on every process. Inside it is n times that of the process's share:
# the mean over n processes, which is what becomes of gradients of weights, then is the sum over the shares. Each of the
# two functions is the other's derivative, to any order.


class Share(Function):
    """Rows (N, ...) that all processes have -> those that this process takes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Every n-th."""
        ctx.n = len(rows)
        return rows[distributed.get_rank() :: distributed.get_world_size()].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Of all rows."""
        whole: Tensor = Whole.apply(gradient, ctx.n)  # type: ignore[no-untyped-call]
        return whole / distributed.get_world_size()


class Whole(Function):
    """Rows of this process -> the N rows (N, ...) of all processes."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, n: int) -> Tensor:
        """In the order in which they were shared out."""
        processes = distributed.get_world_size()
        missing = -(-n // processes) - len(part)  # the last processes may have a row less
        part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
        parts = [torch.empty_like(part) for _ in range(processes)]
        distributed.all_gather(parts, part)
        return torch.stack(parts, 1).flatten(0, 1)[:n]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Of this process's rows."""
        part: Tensor = Share.apply(gradient)  # type: ignore[no-untyped-call]
        return part * distributed.get_world_size(), None

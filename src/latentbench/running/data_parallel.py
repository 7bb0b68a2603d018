"""One run on several devices: each process computes the networks for a part of every batch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from latentbench.backbones.base import batch_normalizations
from latentbench.errors import Refused
from latentbench.models.base import GenerativeModel

STRATEGY = "ddp_find_unused_parameters_true"  # the only Lightning strategy with which SplitBatch gives right gradients


class SplitBatch(pl.Callback):
    """Makes each of n processes compute encoder and decoder for every n-th row of a batch and share its outputs.

    Everything else each process computes for the whole batch: it has all images, codes and decoder outputs in order,
    and draws the same random numbers. So losses that couple the images of a batch, critics, learned priors and
    rejection sampling are those of a single process, and so are the gradients after averaging over the processes.
    Batch normalization takes its means and variances over the rows of all processes.
    Does nothing in a single process. Raises: Refused if a network mixes rows in another way or draws random numbers.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Wrap the forward of encoder and decoder."""
        assert isinstance(pl_module, GenerativeModel)
        self.networks = [pl_module.backbone.encoder, pl_module.backbone.decoder] if trainer.world_size > 1 else []
        for network in self.networks:
            for layer in network.modules():
                if isinstance(layer, _NormBase | _DropoutNd) and not isinstance(layer, _BatchNorm):
                    name = type(layer).__name__
                    raise Refused(f"{name} gives other outputs on a part of a batch: take trainer=default")
            network.forward = split_rows(network.forward, batch_normalizations(network))

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


def split_rows(forward: Callable[[Tensor], Tensor], normalizations: Sequence[_BatchNorm]) -> Callable[[Tensor], Tensor]:
    """A network that maps rows (N, ...) -> (N, ...), its rows divided among all processes.

    normalizations: the layers inside it that mix rows
    """

    def divided(rows: Tensor) -> Tensor:
        if len(rows) < distributed.get_world_size():  # some processes would have no row: each computes all
            return forward(rows)
        for layer in normalizations:
            layer.forward = partial(normalize_all_rows, layer)  # type: ignore[method-assign]
        try:
            part = forward(SplitRows.apply(rows))  # type: ignore[no-untyped-call]
        finally:
            for layer in normalizations:
                del layer.forward
        gathered: Tensor = GatherRows.apply(part, len(rows))  # type: ignore[no-untyped-call]
        return gathered

    return divided


def normalize_all_rows(layer: _BatchNorm, part: Tensor) -> Tensor:
    """Batch normalization of this process's rows (M, C, ...), in training with the moments of all processes' rows.

    The running means and variances are those of a single process, too.
    """
    if not layer.training:
        by_itself: Tensor = type(layer).forward(layer, part)
        return by_itself
    x = part.to(torch.promote_types(part.dtype, torch.float32))
    others = [axis for axis in range(x.dim()) if axis != 1]
    sums: Tensor = SumOverProcesses.apply(torch.cat([x.sum(others), x.new_full((1,), x[:, 0].numel())]))  # type: ignore[no-untyped-call]
    n = sums[-1].detach()
    along = [1, -1, *[1] * (x.dim() - 2)]
    centred = x - (sums[:-1] / n).view(along)
    variance: Tensor = SumOverProcesses.apply(centred.square().sum(others)) / n  # type: ignore[no-untyped-call]
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            share = 1 / layer.num_batches_tracked if layer.momentum is None else layer.momentum
            layer.running_mean.lerp_((sums[:-1] / n).to(layer.running_mean.dtype), share)
            layer.running_var.lerp_((variance * n / (n - 1)).to(layer.running_var.dtype), share)
    y = centred * (variance + layer.eps).rsqrt().view(along)
    if layer.affine:
        y = y * layer.weight.view(along) + layer.bias.view(along)
    return y.to(part.dtype)


# Outside of the networks every process has the gradient of the loss. Inside, a process has n times the gradient of its
# rows' contribution: the mean over n processes, which Lightning takes of the weights' gradients, is then the sum over
# all rows. Each of the first two functions is the derivative of the other up to this factor, and the third of itself,
# to any order.


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


class SumOverProcesses(Function):
    """The sum of a tensor over all processes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total: Tensor = SumOverProcesses.apply(gradient)  # type: ignore[no-untyped-call]
        return total

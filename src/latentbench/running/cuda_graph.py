"""Training on a GPU by CUDA graphs: the kernels of a step are recorded once, and then launched all together."""

import contextlib
import itertools
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import latentbench
from latentbench.errors import UserError
from latentbench.models.base import GenerativeModel
from latentbench.models.recipe import Recipe

WARM_UP = 3  # ordinary steps of each kind before it is recorded: the first makes what later ones keep
# Operations whose result the processor waits for, or that copy numbers of the processor to the device.
WAITING = {
    "aten::_linalg_check_errors",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::equal",
    "aten::lift_fresh",
    "aten::masked_select",
    "aten::multinomial",
    "aten::nonzero",
    "aten::normal",  # checks the scales; `normal_` and `randn` do not
}

REHEARSE = "rehearse"

Function = Callable[[Tensor], Tensor]


class GraphSteps(pl.Callback):
    """Makes a GPU's training steps replays of a CUDA graph, unless a part of the model does not allow it.

    `model.done.cuda_graph` says whether it did, and if not, why.
    mode: True; False for ordinary steps; `rehearse` for all but the recording, on any device. Raises: UserError for
    others.
    """

    def __init__(self, mode: bool | str) -> None:
        if mode not in (True, False, REHEARSE):
            raise UserError(f"cuda_graph={mode}: choose true, false or {REHEARSE}")
        self.mode = mode

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the graphs in the place of the model's `learn`."""
        assert isinstance(pl_module, GenerativeModel)
        if not self.mode or (self.mode != REHEARSE and trainer.strategy.root_device.type != "cuda"):
            return
        if reason := reason_against(trainer, pl_module.recipe):
            pl_module.done.cuda_graph = f"no: {reason}"
        else:
            for group in itertools.chain(*(optimizer.param_groups for optimizer in trainer.optimizers)):
                group["capturable"] = True
                if not pl_module.recipe.schedule.is_constant:  # a graph reads the learning rate where the last one was
                    group["lr"] = torch.as_tensor(group["lr"], device=group["params"][0].device)
            pl_module.done.cuda_graph = "yes"
            recorder = Rehearsal() if self.mode == REHEARSE else CudaGraph()
            pl_module.learn = Steps(pl_module, recorder)  # type: ignore[method-assign]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the model its own `learn` back, and free the graphs."""
        assert isinstance(pl_module, GenerativeModel)
        pl_module.__dict__.pop("learn", None)
        pl_module.done.scheduled_number = None


def reason_against(trainer: pl.Trainer, recipe: Recipe) -> str | None:
    """Why the steps of a training stay ordinary ones, whatever the parts of its model."""
    if trainer.world_size > 1:
        return "several devices share each batch"
    if trainer.precision == "16-mixed":
        return "trainer.precision=16-mixed looks at the gradients of each step"
    if not recipe.optimizer.is_capturable:
        return f"the processor takes part in a step of {type(recipe.optimizer).__name__}"
    if recipe.accumulate > 1:
        return "trainer.accumulate counts batches on the processor"
    return None


class CudaGraph:
    """Records the kernels of a function of a tensor, in a stream of its own, as CUDA wants it."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    @contextlib.contextmanager
    def warm_up(self) -> Iterator[None]:
        """Do what is inside in the stream of the recording: what is kept for later steps then belongs to it."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, function: Function, example: Tensor) -> Function:
        """A function that launches the kernels of another one, for tensors of the example's shape.

        Its result lies in the same place after every call. The other function must not wait for the device.
        """
        value, graph = example.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            result = function(value)

        def replay(new: Tensor) -> Tensor:
            value.copy_(new)
            graph.replay()
            return result

        return replay


class Rehearsal(CudaGraph):
    """The same without CUDA: nothing is recorded, and the function itself is called."""

    def __init__(self) -> None:
        self.warm_up = contextlib.nullcontext  # type: ignore[assignment]

    def record(self, function: Function, example: Tensor) -> Function:
        value = example.clone()

        def call(new: Tensor) -> Tensor:
            value.copy_(new)
            return function(value)

        return call


class Steps:
    """A model's `learn`, replayed from a graph for each shape of a batch and each kind of step.

    A replay repeats the operations of the step that was recorded, at the same addresses: nothing that the processor
    decides, counts or waits for would change. So the steps before it are watched, and if one does such a thing, all
    steps stay ordinary ones.
    """

    def __init__(self, model: GenerativeModel, recorder: CudaGraph) -> None:
        self.model = model
        self.recorder = recorder
        self.learn = model.learn
        self.seen: Counter[Any] = Counter()
        self.graphs: dict[Any, tuple[Function, list[str]]] = {}
        self.number = float("nan")  # the schedule's, as the device has it

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        """Take a step. Returns its loss terms, scalars."""
        done = self.model.done
        if done.cuda_graph != "yes":
            return self.learn(batch)
        self._tell_number(batch.device)
        kind = batch.shape, self.model.kind_of_step()
        if kind not in self.graphs:
            self.seen[kind] += 1
            if self.seen[kind] <= WARM_UP:
                with self.recorder.warm_up():
                    return self._ordinary_step(batch, is_first=self.seen[kind] == 1)
            self.graphs[kind] = self._recorded(batch)
        replay, names = self.graphs[kind]
        terms = replay(batch).clone()  # the next replay writes over it
        done.end_step("all")
        return dict(zip(names, terms.unbind(), strict=True))

    def _tell_number(self, device: torch.device) -> None:
        """Bring the schedule's number to the device, where the graphs read it."""
        number, done = self.model.scheduled_number(), self.model.done
        if done.scheduled_number is None:
            done.scheduled_number = torch.zeros((), device=device)
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
            self.model.done.cuda_graph = f"no: {reason}"
            self.model.done.scheduled_number = None
        return terms

    def _recorded(self, batch: Tensor) -> tuple[Function, list[str]]:
        """The graph of a step, whose result is the loss terms in one tensor, and their names."""
        names: list[str] = []

        def step(images: Tensor) -> Tensor:
            terms = self.learn(images)
            names[:] = terms
            return torch.stack([term.detach() for term in terms.values()])

        try:
            return self.recorder.record(step, batch), names
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"a training step cannot be a CUDA graph ({reason}): take cuda_graph=false") from error


class Watch(TorchDispatchMode):
    """Finds the first operation inside it that a CUDA graph cannot contain: `reason` says where it is, or is None."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation."""
        result = func(*args, **(kwargs or {}))
        if self.reason is None and _is_waited_for(func._schema.name, args, result):
            self.reason = f"{_caller()} waits for values of the device, or copies some to it ({func._schema.name})"
        return result


def _is_waited_for(name: str, args: tuple[Any, ...], result: Any) -> bool:
    if name in WAITING:
        return True
    if name.startswith("aten::index") and len(args) > 1 and isinstance(args[1], Sequence):
        return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])
    if name in ("aten::_to_copy", "aten::copy_"):
        source = args[1] if name == "aten::copy_" else args[0]
        return bool(source.device.type != result.device.type)
    return False


def _caller() -> str:
    """The innermost code outside of torch and of this file, such as `priors/flow.py (sample)`."""
    root, own = str(Path(torch.__file__).parent), Path(latentbench.__file__).parent
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith((root, __file__))]
    path = Path(frames[-1].filename)
    name = path.relative_to(own) if path.is_relative_to(own) else path.name
    return f"{name} ({frames[-1].name})"


def state_of(model: torch.nn.Module) -> dict[str, Any]:
    """Name -> number, or address of the tensor, of all that the modules of a model hold."""
    state: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        for name, value in {**vars(module), **module._buffers, **module._parameters}.items():
            if isinstance(value, Tensor):
                state[f"{prefix}.{name}"] = value.data_ptr()
            elif isinstance(value, bool | int | float | str | None):
                state[f"{prefix}.{name}"] = value
    return state

"""Records a training step on a GPU as a CUDA graph, whose kernels are launched all together."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from latentbench.errors import UserError

Function = Callable[[Tensor], Tensor]


class CudaGraph:
    """Records the kernels of a function of a tensor, in a stream of its own, as CUDA wants it."""

    reason: str | None = None  # why what was recorded cannot be replayed; here an error says so

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    @contextlib.contextmanager
    def warm_up(self) -> Iterator[None]:
        """Do what is inside in the stream of the recording: what is kept for later steps then belongs to it."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, function: Function, example: Tensor) -> tuple[Tensor, Function]:
        """The result for the example, and a function that launches the same kernels for tensors of its shape.

        Raises: UserError if CUDA cannot record the function.
        """
        value, graph = example.clone(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                result = function(value)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"a training step cannot be a CUDA graph ({reason}): take replay=false") from error

        def replay(new: Tensor) -> Tensor:
            value.copy_(new)
            graph.replay()
            return result.clone()  # the next replay writes over it

        return replay(example), replay

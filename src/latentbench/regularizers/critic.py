"""The network of a critic."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.func import functional_call

from latentbench.errors import UserError


class Critic(nn.Sequential):
    """Fully connected layers of the given widths from latents (B, D) to a log-odds each, (B, 1).

    slope: of the leaky ReLUs, 0 for plain ones. Raises: UserError for widths below 1.
    """

    def __init__(self, *, latent_size: int, hidden: Sequence[int], slope: float) -> None:
        if not hidden or min(hidden) < 1:
            raise UserError(f"regularizer.hidden={list(hidden)}: give one or more widths of 1 or more")
        widths = [latent_size, *hidden]
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.LeakyReLU(slope))]
        super().__init__(*layers, nn.Linear(widths[-1], 1))

    def frozen(self, z: Tensor) -> Tensor:
        """Log-odds (B, 1) with gradients to z alone."""
        weights = {name: weight.detach() for name, weight in self.named_parameters()}
        verdict: Tensor = functional_call(self, weights, z)
        return verdict

"""The network of an adversarial regularizer's critic."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.func import functional_call

from latentbench.errors import check_widths


class Critic(nn.Sequential):
    """Fully connected layers of widths `hidden` with leaky ReLUs, from latents to log-odds.

    slope: negative slope of the leaky ReLUs; 0 makes them plain ReLUs.
    Shape: (B, D) -> (B, 1).
    Raises: UserError if a width is below 1.
    """

    def __init__(self, *, latent_size: int, hidden: Sequence[int], slope: float) -> None:
        sizes = [latent_size, *check_widths("regularizer.hidden", hidden)]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU(slope))]
        super().__init__(*layers, nn.Linear(sizes[-1], 1))

    def frozen(self, z: Tensor) -> Tensor:
        """Log-odds (B, 1) with gradients to z but not to the critic's parameters."""
        weights = {name: weight.detach() for name, weight in self.named_parameters()}
        log_odds: Tensor = functional_call(self, weights, z)
        return log_odds

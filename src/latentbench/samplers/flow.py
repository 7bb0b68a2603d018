"""A normalizing flow fitted to the training latents."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from latentbench.distributions.flow import check_flow_settings
from latentbench.errors import UserError
from latentbench.priors.flow import TRANSFORMS, FlowPrior
from latentbench.samplers.trained import Density, TrainedSampler


class FlowDensity(Density):
    """The density of `prior=flow`."""

    def __init__(self, *, size: int, transform: str, transforms: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.flow = FlowPrior(
            latent_size=size, shape=(1, 1, 1), transform=transform, transforms=transforms, hidden=hidden
        )

    def forward(self, w: Tensor) -> Tensor:
        loss: Tensor = -self.flow(None).log_prob(w)
        return loss

    def draw(self, n: int) -> Tensor:
        samples: Tensor = self.flow(None).sample((n,))
        return samples


class FlowSampler(TrainedSampler):
    """z = m + V (s w) with p(w) = N(f(w); 0, I) |det df/dw|, where f are autoregressive maps, as in `prior=flow`.

    m, V and s are those of TrainedSampler.
    Raises: UserError if a setting is not valid.
    Source: Durkan et al. 2019, section 3.1 (splines); Papamakarios et al. 2017 (affine). Like the mixture of Ghosh et
    al. 2020, section 4, it is an ex-post density estimate.
    """

    name = "flow"
    max_dimensions: ClassVar[float] = 1024

    def __init__(
        self,
        *,
        transform: str,
        transforms: int,
        hidden: Sequence[int],
        steps: int,
        batch_size: int,
        learning_rate: float,
        held_out: float,
    ) -> None:
        super().__init__(steps=steps, batch_size=batch_size, learning_rate=learning_rate, held_out=held_out)
        if transform not in TRANSFORMS:
            raise UserError(f"sampler.flow.transform={transform}: choose one of {', '.join(TRANSFORMS)}")
        check_flow_settings("sampler.flow", transforms, hidden)
        self.transform, self.transforms, self.hidden = transform, transforms, hidden

    def density(self, spread: Tensor) -> FlowDensity:
        return FlowDensity(size=len(spread), transform=self.transform, transforms=self.transforms, hidden=self.hidden)

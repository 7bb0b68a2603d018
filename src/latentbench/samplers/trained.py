"""What samplers that train a network on the latents have in common."""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from tqdm import tqdm

from latentbench.errors import check_number, check_whole_number
from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import principal_components

LOOK_EVERY = 50  # steps
PATIENCE = 10  # looks at the latents held out, none better than the best before, after which training ends
MOST_HELD_OUT = 2000  # latents: enough to tell two losses apart, and quick to look at
CHUNK = 1000  # points that are looked at together


class Density(nn.Module, ABC):
    """A density p of points (B, C) that begins near N(0, I)."""

    @abstractmethod
    def forward(self, w: Tensor) -> Tensor:
        """-log p(w) or a bound above it, nats, (B,)."""

    @abstractmethod
    def draw(self, n: int) -> Tensor:
        """n points (n, C)."""


class TrainedSampler(Sampler):
    """z = m + V (s w), w ~ p: a network's density of the latents' principal components, each scaled to variance 1.

    Maximum likelihood by Adam and a cosine schedule, on batches drawn with replacement. A share of the latents is held
    out: the network keeps the weights with which their mean loss was lowest. As p begins near N(0, I), and z near the
    Gaussian fitted to the latents, latents too few to learn more from leave it there. Components in which nothing
    varies stay at the mean.
    """

    name: ClassVar[str]

    def __init__(self, *, steps: int, batch_size: int, learning_rate: float, held_out: float) -> None:
        self.steps = check_whole_number(f"sampler.{self.name}.steps", steps, minimum=1)
        self.batch_size = check_whole_number(f"sampler.{self.name}.batch_size", batch_size, minimum=1)
        self.learning_rate = check_number(f"sampler.{self.name}.learning_rate", learning_rate, above=0)
        self.held_out = check_number(f"sampler.{self.name}.held_out", held_out, above=0, below=1)

    @abstractmethod
    def density(self, spread: Tensor) -> Density:
        """An untrained p of points (B, C).

        spread: standard deviations of the components before they were scaled, (C,), C > 0, in units of their root mean
        square.
        """

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Train in float32, on random numbers of the seed's alone."""
        assert latents is not None
        components = principal_components(latents).alive()
        self.like, self.mean, self.root = latents[0], components.mean, components.root
        self.p = None
        if not len(components.scales):
            return
        w = ((latents.double() - self.mean) @ components.vectors / components.scales).float()
        spread = (components.scales / components.scales.square().mean().sqrt()).float()
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            self.p = self.density(spread).to(w.device)
            self._train(self.p, w)

    def draw(self, n: int) -> Tensor:
        """n latents (n, D)."""
        drawn = self.mean.expand(n, -1)
        if self.p is not None:
            with torch.no_grad():
                drawn = drawn + self.p.draw(n).double() @ self.root.T
        return drawn.to(self.like)

    def _train(self, p: Density, w: Tensor) -> None:
        shuffled = w[torch.randperm(len(w), device=w.device)]
        held_out, rest = shuffled.tensor_split([min(max(1, round(self.held_out * len(w))), MOST_HELD_OUT)])
        optimizer = torch.optim.Adam(p.parameters(), lr=self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        lowest, best, looks = _mean_loss(p, held_out), copy.deepcopy(p.state_dict()), 0
        for step in tqdm(range(1, self.steps + 1), desc=f"sampler {self.name}", unit="step", leave=False, disable=None):
            loss = p(rest[torch.randint(len(rest), (self.batch_size,), device=w.device)]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % LOOK_EVERY == 0 or step == self.steps:
                looks += 1
                if (found := _mean_loss(p, held_out)) < lowest:
                    lowest, best, looks = found, copy.deepcopy(p.state_dict()), 0
                if looks == PATIENCE:
                    break
        p.load_state_dict(best)


@torch.no_grad()
def _mean_loss(p: Density, w: Tensor) -> float:
    return torch.cat([p(chunk) for chunk in w.split(CHUNK)]).double().mean().item()

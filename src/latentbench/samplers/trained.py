"""The base class of samplers that train a network on the latents."""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from tqdm import tqdm

from latentbench.errors import check_number, check_whole_number
from latentbench.samplers.base import Sampler
from latentbench.samplers.principal_components import MAX_DIMENSIONS, principal_components

EVALUATE_EVERY = 50  # steps between two evaluations on held-out latents
PATIENCE = 10  # training ends after this many evaluations without an improvement
MAX_HELD_OUT = 2000  # latents: enough to compare two losses, and fast to evaluate
EVALUATION_BATCH = 1000  # latents


class Density(nn.Module, ABC):
    """A trainable density p(w) that starts near N(0, I). Shape: w (B, C)."""

    @abstractmethod
    def forward(self, w: Tensor) -> Tensor:
        """Return -log p(w) or an upper bound on it, nats, (B,)."""

    @abstractmethod
    def draw(self, n: int) -> Tensor:
        """Return n samples of p (n, C)."""


class TrainedSampler(Sampler):
    """z = m + V (s w) with w ~ p, where a network models the density p of the whitened latents w.

    m, V and s are the mean, principal components and standard deviations of the latents. Components that do not vary
    stay at the mean.
    p is trained by maximum likelihood with Adam and a cosine learning rate, on batches drawn with replacement. Part of
    the latents is held out, and the weights with the lowest mean held-out loss are used in the end. p starts near
    N(0, I), which makes z a Gaussian fitted to the latents. If training does not improve on this Gaussian, the
    sampler keeps it, for example with too few latents.

    To add one, subclass TrainedSampler, set `name` to the key of its YAML, and implement `density`.
    """

    name: ClassVar[str]
    max_dimensions: ClassVar[float] = MAX_DIMENSIONS

    def __init__(self, *, steps: int, batch_size: int, learning_rate: float, held_out: float) -> None:
        self.steps = check_whole_number(f"sampler.{self.name}.steps", steps, minimum=1)
        self.batch_size = check_whole_number(f"sampler.{self.name}.batch_size", batch_size, minimum=1)
        self.learning_rate = check_number(f"sampler.{self.name}.learning_rate", learning_rate, above=0)
        self.held_out = check_number(f"sampler.{self.name}.held_out", held_out, above=0, below=1)

    @abstractmethod
    def density(self, spread: Tensor) -> Density:
        """Return an untrained p.

        spread: standard deviations of the components before whitening, (C,), C > 0, divided by their root mean square.
        """

    def fit(self, *, prior: Distribution, latents: Tensor | None, seed: int) -> None:
        """Train in float32. All random numbers come from the seed."""
        assert latents is not None
        components = principal_components(latents).nonzero()
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
        samples = self.mean.expand(n, -1)
        if self.p is not None:
            with torch.no_grad():
                samples = samples + self.p.draw(n).double() @ self.root.T
        return samples.to(self.like)

    def _train(self, p: Density, w: Tensor) -> None:
        shuffled = w[torch.randperm(len(w), device=w.device)]
        held_out, train = shuffled.tensor_split([min(max(1, round(self.held_out * len(w))), MAX_HELD_OUT)])
        optimizer = torch.optim.Adam(p.parameters(), lr=self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        best_loss, best_weights, since_best = _mean_loss(p, held_out), copy.deepcopy(p.state_dict()), 0
        for step in tqdm(range(1, self.steps + 1), desc=f"sampler {self.name}", unit="step", leave=False, disable=None):
            loss = p(train[torch.randint(len(train), (self.batch_size,), device=w.device)]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % EVALUATE_EVERY == 0 or step == self.steps:
                since_best += 1
                if (held_out_loss := _mean_loss(p, held_out)) < best_loss:
                    best_loss, best_weights, since_best = held_out_loss, copy.deepcopy(p.state_dict()), 0
                if since_best == PATIENCE:
                    break
        p.load_state_dict(best_weights)


@torch.no_grad()
def _mean_loss(p: Density, w: Tensor) -> float:
    return torch.cat([p(batch) for batch in w.split(EVALUATION_BATCH)]).double().mean().item()

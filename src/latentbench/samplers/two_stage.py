"""A second variational autoencoder, of the training latents."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentbench.errors import check_widths
from latentbench.samplers.trained import Density, TrainedSampler

FIRST_GAMMA = 0.5  # at gamma = 1 the decoder's noise would be all that the latents vary, and u say nothing


class Network(nn.Module):
    """linear(x, ReLU(... ReLU(linear(s x)))), which begins as the given linear map of x."""

    scales: Tensor

    def __init__(self, start: Tensor, *, scales: Tensor, hidden: Sequence[int]) -> None:
        """start: (outputs, inputs); scales: s, (inputs,); hidden: widths."""
        super().__init__()
        outputs, inputs = start.shape
        self.register_buffer("scales", scales)
        sizes = [inputs, *hidden]
        self.layers = nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())))
        self.last = nn.Linear(inputs + sizes[-1], outputs)
        with torch.no_grad():
            self.last.weight.zero_()[:, :inputs] = start
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        outputs: Tensor = self.last(torch.cat([x, self.layers(self.scales * x)], 1))
        return outputs


class SecondVAE(Density):
    """p(w|u) = N(f(u), r^2), p(u) = N(0, I), q(u|w) = N(g(w), sigma(w)^2), all in C dimensions.

    r_c^2 = gamma^2 / (gamma^2 + spread_c^2), gamma learned: the noise of a component is gamma where it spreads much
    more, as of the paper, and all of its spread where that is less.
    """

    spread: Tensor

    def __init__(self, spread: Tensor, *, hidden: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("spread", spread)
        self.log_gamma = nn.Parameter(torch.tensor(math.log(FIRST_GAMMA), device=spread.device))
        # p(w) = N(0, I) and q(u|w) = p(u|w): the bound is tight, and u says what can be said. Where u says nothing, as
        # from weights at random, p(w) = N(0, I) too, and there is no slope that leads away.
        with torch.no_grad():
            log_r = self.log_noise()
            slopes = (1 - (2 * log_r).exp()).sqrt().diag()
        self.encoder = Network(torch.cat([slopes, 0 * slopes]), scales=spread, hidden=hidden)
        self.decoder = Network(slopes, scales=torch.ones_like(spread), hidden=hidden)
        with torch.no_grad():
            self.encoder.last.bias[len(spread) :] = log_r

    def log_noise(self) -> Tensor:
        """log r, (C,)."""
        log_r: Tensor = -0.5 * softplus(2 * (self.spread.log() - self.log_gamma))
        return log_r

    def forward(self, w: Tensor) -> Tensor:
        """KL(q(u|w) || p(u)) - log p(w|u), one u ~ q(u|w): minus the ELBO, nats, (B,)."""
        mean, log_sigma = self.encoder(w).chunk(2, dim=1)
        u = mean + log_sigma.exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 1) - log_sigma
        log_r = self.log_noise()
        squares = ((w - self.decoder(u)) * (-log_r).exp()).square()
        loss: Tensor = (kl + 0.5 * squares + log_r + 0.5 * math.log(2 * math.pi)).sum(1)
        return loss

    def draw(self, n: int) -> Tensor:
        """n points (n, C): u ~ N(0, I), then w ~ p(w|u)."""
        u = torch.randn(n, len(self.spread), device=self.spread.device)
        drawn: Tensor = self.decoder(u) + self.log_noise().exp() * torch.randn_like(u)
        return drawn


class TwoStageSampler(TrainedSampler):
    """u ~ N(0, I), z ~ p(z|u): the decoder of a VAE with as many dimensions as the latents, its noise included.

    Source: Dai & Wipf 2019, section 4 (a second VAE on draws of q(z|x), its gamma learned, u of z's dimension; z drawn
    with the noise); networks, with the input beside the last hidden layer, as in the authors' code. There the second
    VAE sees raw latents, with the same noise in all directions, and has new draws of q(z|x) in every epoch. Here it
    sees one draw of each, in units of their own scale; noise does not exceed the spread of a component, and training
    begins at the Gaussian fitted to the latents and is short.
    Raises: UserError for settings of which no network can be made.
    """

    name = "two_stage"

    def __init__(
        self, *, hidden: Sequence[int], steps: int, batch_size: int, learning_rate: float, held_out: float
    ) -> None:
        super().__init__(steps=steps, batch_size=batch_size, learning_rate=learning_rate, held_out=held_out)
        self.hidden = check_widths("sampler.two_stage.hidden", hidden)

    def density(self, spread: Tensor) -> SecondVAE:
        """The second VAE."""
        return SecondVAE(spread, hidden=self.hidden)

"""A second variational autoencoder, trained on the training latents."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentbench.errors import check_widths
from latentbench.samplers.trained import Density, TrainedSampler

INITIAL_GAMMA = 0.5  # at gamma = 1, the decoder's noise would explain all variance, and u would carry no information


class SkipNetwork(nn.Module):
    """linear(x, ReLU(... ReLU(linear(s x)))), initialized as a given linear map of x.

    Shape: initial (outputs, inputs), the map; scales (inputs,), s; x (B, inputs); result (B, outputs).
    """

    scales: Tensor

    def __init__(self, initial: Tensor, *, scales: Tensor, hidden: Sequence[int]) -> None:
        super().__init__()
        outputs, inputs = initial.shape
        self.register_buffer("scales", scales)
        sizes = [inputs, *hidden]
        self.layers = nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())))
        self.last = nn.Linear(inputs + sizes[-1], outputs)
        with torch.no_grad():
            self.last.weight.zero_()[:, :inputs] = initial
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.cat([x, self.layers(self.scales * x)], 1))
        return outputs


class SecondVAE(Density):
    """p(w|u) = N(f(u), r^2), p(u) = N(0, I), q(u|w) = N(g(w), sigma(w)^2), all in C dimensions.

    r_c^2 = gamma^2 / (gamma^2 + spread_c^2) with a learned gamma. Before whitening, this is noise of standard deviation
    gamma, as in the paper, for components with a much larger spread; it never exceeds the spread of a component.
    """

    spread: Tensor

    def __init__(self, spread: Tensor, *, hidden: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("spread", spread)
        self.log_gamma = nn.Parameter(torch.tensor(math.log(INITIAL_GAMMA), device=spread.device))
        # Start with p(w) = N(0, I) and q(u|w) = p(u|w), so that the bound is tight and u is informative. Random weights
        # can also give p(w) = N(0, I) with an uninformative u, but there the gradient vanishes.
        with torch.no_grad():
            log_r = self.log_noise()
            slopes = (1 - (2 * log_r).exp()).sqrt().diag()
        self.encoder = SkipNetwork(torch.cat([slopes, 0 * slopes]), scales=spread, hidden=hidden)
        self.decoder = SkipNetwork(slopes, scales=torch.ones_like(spread), hidden=hidden)
        with torch.no_grad():
            self.encoder.last.bias[len(spread) :] = log_r

    def log_noise(self) -> Tensor:
        """log r, (C,)."""
        log_r: Tensor = -0.5 * softplus(2 * (self.spread.log() - self.log_gamma))
        return log_r

    def forward(self, w: Tensor) -> Tensor:
        """The negative ELBO from one sample u ~ q(u|w): KL(q(u|w) || p(u)) - log p(w|u), nats, (B,)."""
        mean, log_sigma = self.encoder(w).chunk(2, dim=1)
        u = mean + log_sigma.exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 1) - log_sigma
        log_r = self.log_noise()
        squares = ((w - self.decoder(u)) * (-log_r).exp()).square()
        loss: Tensor = (kl + 0.5 * squares + log_r + 0.5 * math.log(2 * math.pi)).sum(1)
        return loss

    def draw(self, n: int) -> Tensor:
        """u ~ N(0, I), then w ~ p(w|u)."""
        u = torch.randn(n, len(self.spread), device=self.spread.device)
        samples: Tensor = self.decoder(u) + self.log_noise().exp() * torch.randn_like(u)
        return samples


class TwoStageSampler(TrainedSampler):
    """u ~ N(0, I), z ~ p(z|u): samples of a second VAE, whose latent u has the dimension of z.

    Raises: UserError if a setting is not valid.
    Source: Dai & Wipf 2019, section 4 (a second VAE on samples of q(z|x), with a learned gamma, and noise added to z).
    As in the authors' code, the last layer of each network also sees its input.
    Where we differ: the paper's second VAE is trained on raw latents, with the same noise in all directions and new
    samples of q(z|x) in every epoch. Ours is trained on one sample of each, whitened; the noise never exceeds the
    spread of a component; and training is short and starts from the Gaussian fitted to the latents.
    """

    name = "two_stage"

    def __init__(
        self, *, hidden: Sequence[int], steps: int, batch_size: int, learning_rate: float, held_out: float
    ) -> None:
        super().__init__(steps=steps, batch_size=batch_size, learning_rate=learning_rate, held_out=held_out)
        self.hidden = check_widths("sampler.two_stage.hidden", hidden)

    def density(self, spread: Tensor) -> SecondVAE:
        return SecondVAE(spread, hidden=self.hidden)

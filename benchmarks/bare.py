"""Bare training steps, which latentbench's are compared with: some written out in plain torch, and any model's."""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from latentbench.models.base import GenerativeModel

HIDDEN, LATENT_SIZE = (256, 256), 8  # of latentbench's defaults
PSEUDO_INPUTS, DRAWS = 100, 10  # of method=vampprior_vae
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of method=wae_mmd

METHODS = ("vae", "wae_mmd", "aae", "vampprior_vae", "gan")  # that have a bare step

Step = Callable[[Tensor], None]


def layers(*sizes: int, slope: float = 0.0) -> nn.Sequential:
    """Fully connected layers with ReLU between them."""
    made = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.LeakyReLU(slope) if slope else nn.ReLU())]
    return nn.Sequential(*made[:-1])


def adam(*modules: nn.Module) -> tuple[torch.optim.Adam, list[nn.Parameter]]:
    """The optimizer of the modules' weights, and these."""
    weights = [weight for module in modules for weight in module.parameters()]
    is_on_gpu = weights[0].is_cuda
    return torch.optim.Adam(weights, lr=1e-3, fused=True, capturable=is_on_gpu), weights


def minimize(loss: Tensor, optimizer: torch.optim.Adam, weights: Iterable[Tensor]) -> None:
    for weight in weights:
        weight.grad = None
    loss.backward()
    optimizer.step()


def mlp_networks(shape: tuple[int, ...], codes: int) -> tuple[nn.Module, nn.Module]:
    """Encoder (B, C, H, W) -> (B, codes) and decoder (B, LATENT_SIZE) -> (B, pixels)."""
    pixels = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), layers(pixels, *HIDDEN, codes))
    return encoder, layers(LATENT_SIZE, *reversed(HIDDEN), pixels)


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits.flatten(1), x.flatten(1), reduction="sum") / len(x)


def vae(encoder: nn.Module, decoder: nn.Module) -> Step:
    """-log p(x|z) + KL(q(z|x) || N(0, I))."""
    optimizer, weights = adam(encoder, decoder)

    def step(x: Tensor) -> None:
        mean, log_scale = encoder(x).chunk(2, 1)
        scale = log_scale.exp()
        distortion = cross_entropy(decoder(mean + scale * torch.randn_like(scale)), x)
        rate = (0.5 * (mean * mean + scale * scale - 1) - log_scale).sum() / len(x)
        minimize(distortion + rate, optimizer, weights)

    return step


def wae_mmd(encoder: nn.Module, decoder: nn.Module) -> Step:
    """-log p(x|z) + 200 MMD^2 between codes and draws of N(0, I)."""
    optimizer, weights = adam(encoder, decoder)

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        squared = (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp(min=0)
        terms = [width / (width + squared) for width in (2 * LATENT_SIZE * scale for scale in SCALES)]
        return sum(terms[1:], start=terms[0])

    def step(x: Tensor) -> None:
        z, n = encoder(x), len(x)
        draws = torch.randn_like(z)
        within = (similarity(z, z).sum() + similarity(draws, draws).sum() - 2 * n * len(SCALES)) / (n * (n - 1))
        mmd = within - 2 * similarity(z, draws).mean()
        minimize(cross_entropy(decoder(z), x) + 200 * mmd, optimizer, weights)

    return step


def aae(encoder: nn.Module, decoder: nn.Module) -> Step:
    """-log p(x|z) + 2 softplus(-T(z)), and in turns the critic T of codes against draws of N(0, I)."""
    critic = layers(LATENT_SIZE, *HIDDEN, 1).to(next(encoder.parameters()).device)
    optimizer, weights = adam(encoder, decoder)
    critic_optimizer, critic_weights = adam(critic)

    def step(x: Tensor) -> None:
        z = encoder(x)
        minimize(cross_entropy(decoder(z), x) + 2 * softplus(-critic(z)).mean(), optimizer, weights)
        codes = z.detach()
        loss = softplus(-critic(torch.randn_like(codes))).mean() + softplus(critic(codes)).mean()
        minimize(loss, critic_optimizer, critic_weights)

    return step


def vampprior_vae(encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...]) -> Step:
    """-log p(x|z) + log q(z|x) - log 1/K sum_k q(z|u_k), the last two by ten draws of z."""
    inputs = nn.ParameterList([torch.randn(PSEUDO_INPUTS, *shape)]).to(next(encoder.parameters()).device)
    optimizer, weights = adam(encoder, decoder, inputs)

    def log_density(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        return (-0.5 * ((z - mean) * (-log_scale).exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)

    def step(x: Tensor) -> None:
        mean, log_scale = encoder(x).chunk(2, 1)
        scale = log_scale.exp()
        distortion = cross_entropy(decoder(mean + scale * torch.randn_like(scale)), x)
        z = mean + scale * torch.randn(DRAWS, *scale.shape, device=x.device)
        of_inputs = encoder(inputs[0].sigmoid()).chunk(2, 1)
        log_p = log_density(z.unsqueeze(-2), *of_inputs).logsumexp(-1) - math.log(PSEUDO_INPUTS)
        rate = (log_density(z, mean, log_scale) - log_p).mean()
        minimize(distortion + rate, optimizer, weights)

    return step


def gan(encoder: nn.Module, decoder: nn.Module) -> Step:
    """Discriminator and generator in turns, of the non-saturating loss."""
    optimizer, weights = adam(decoder)
    critic_optimizer, critic_weights = adam(encoder)

    def step(x: Tensor) -> None:
        generated = decoder(torch.randn(len(x), LATENT_SIZE, device=x.device)).sigmoid().view(x.shape)
        loss = softplus(-encoder(x)).mean() + softplus(encoder(generated.detach())).mean()
        minimize(loss, critic_optimizer, critic_weights)
        minimize(softplus(-encoder(generated)).mean(), optimizer, weights)

    return step


CODES = {
    "vae": 2 * LATENT_SIZE,
    "vampprior_vae": 2 * LATENT_SIZE,
    "gan": 1,
}  # outputs of the encoder, if not LATENT_SIZE


def bare_step(method: str, shape: tuple[int, ...], device: str = "cpu") -> Step:
    """A step of a method with fully connected networks, on images (B, C, H, W) of this shape."""
    encoder, decoder = mlp_networks(shape, CODES.get(method, LATENT_SIZE))
    encoder, decoder = encoder.to(device), decoder.to(device)
    if method == "vampprior_vae":
        return vampprior_vae(encoder, decoder, shape)
    return {"vae": vae, "wae_mmd": wae_mmd, "aae": aae, "gan": gan}[method](encoder, decoder)


def bare_step_of(model: GenerativeModel) -> Step:
    """A step of any model: its networks and its losses, torch's backward and torch's Adam, without a trainer."""
    named = dict(zip(model.players, model.weights_of_players(), strict=False))
    optimizers = {
        name: torch.optim.Adam(player.weights, lr=player.learning_rate, betas=player.betas, fused=True)
        for name, player in named.items()
    }

    def minimize_loss(loss: Tensor, *, player: str) -> None:
        minimize(loss, optimizers[player], named[player].weights)

    model.minimize, model._optimizers = minimize_loss, optimizers  # type: ignore[method-assign]

    def step(x: Tensor) -> None:
        model.learn(x)
        model.done.batches += 1  # which tells models whose players take turns whose turn it is

    return step


def batches_of(images: Tensor, indices: Tensor, *, binarize: bool) -> Tensor:
    """The training images of a batch, from uint8 images."""
    grey = images[indices].float().div_(255)
    return torch.bernoulli(grey) if binarize else grey

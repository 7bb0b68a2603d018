"""What the tests of published losses are made of: a model, a batch, and what the model drew for it."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import leaky_relu

from latentbench.contracts.images import noise_images
from latentbench.contracts.options import untrained
from latentbench.models.autoencoder import Autoencoder
from latentbench.regularizers.base import Latents

# Two sizes of images and of latents, since a published weight may depend on either.
SIZES = [((1, 6, 5), 3), ((3, 8, 8), 5)]
N = 12


@dataclasses.dataclass(frozen=True)
class Seen:
    """A batch and what the model made of it, with gradients."""

    model: Autoencoder
    x: Tensor  # images (N, C, H, W)
    z: Tensor  # codes (N, D)
    many: Tensor  # all draws of the codes (S, N, D)
    q: Distribution  # q(z|x)
    p: Distribution  # p(z)
    raw: Tensor  # decoder's output for z (N, C, H, W), before a sigmoid
    draws: list[Tensor]  # of the prior, (N, D) each
    noise: list[Tensor]  # all that was drawn of N(0, 1)

    @property
    def image(self) -> Tensor:
        """The decoder's output after a sigmoid."""
        return self.raw.sigmoid()

    @property
    def decoder(self) -> nn.Module:
        return self.model.backbone.decoder


@dataclasses.dataclass(frozen=True)
class Loss:
    """A published loss in two parts: what it pays for the images, and for the latents, at its published weight."""

    images: Tensor
    latents: Tensor


def model_and_batch(
    method: str, size: tuple[tuple[int, int, int], int], settings: Sequence[str] = (), *, binary: bool = False
) -> tuple[Autoencoder, Tensor]:
    """A method's model away from its first weights, and a batch of images."""
    shape, latent_size = size
    data = noise_images(shape, n=N)
    model = untrained(data, f"method={method}", f"latent_size={latent_size}", *settings)
    assert isinstance(model, Autoencoder)
    with torch.no_grad():
        model.head.weight.mul_(3)
        model.head.bias.copy_(0.5 * torch.randn(len(model.head.bias)))
    images = data.images("train")
    return model.eval(), images.round() if binary else images  # in training a pass moves a normalised weight


def keep_draws(patch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """Two lists that fill with what is drawn from now on: samples of the prior, and all numbers of N(0, 1)."""
    draws: list[Tensor] = []
    noise: list[Tensor] = []

    def kept(function: Callable[..., Tensor], into: list[Tensor]) -> Callable[..., Tensor]:
        def keeping(*args: object, **options: object) -> Tensor:
            into.append(function(*args, **options))
            return into[-1]

        return keeping

    patch.setattr(Latents, "prior_samples", kept(Latents.prior_samples, draws))
    patch.setattr(torch, "randn", kept(torch.randn, noise))
    patch.setattr(torch, "randn_like", kept(torch.randn_like, noise))
    return draws, noise


def seen_by(model: Autoencoder, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Tensor], Seen, Latents]:
    """The terms of the model's loss, what a published loss is made of, and what its regularizer received."""
    decoded: list[Tensor] = []
    log_prob = model.pixel_log_prob

    def watched(x: Tensor, z: Tensor) -> Tensor:
        decoded.append(z)
        return log_prob(x, z)

    with monkeypatch.context() as patch:
        draws, noise = keep_draws(patch)
        patch.setattr(model, "pixel_log_prob", watched)
        terms, latents = model.terms(x)
    raw = model.backbone.decode(latents.z)
    seen = Seen(model, x, latents.z, decoded[0], latents.q, latents.p, raw, draws, noise)
    return terms, seen, latents


def assert_same_up_to_a_factor(
    model: Autoencoder, terms: dict[str, Tensor], published: Loss, *, precision: float = 2e-4
) -> float:
    """Both parts of the model's loss have the published gradients times one factor, which is returned."""
    weights = {name: w for name, w in model.named_parameters() if not name.startswith("regularizer.")}
    ours = [gradient(terms["distortion"], weights), gradient(terms["loss"] - terms["distortion"], weights)]
    theirs = [gradient(published.images, weights), gradient(published.latents, weights)]
    factor = ((ours[0] * theirs[0]).sum() / theirs[0].square().sum()).item()
    assert factor > 0
    for part, one, other in zip(("images", "latents"), ours, theirs, strict=True):
        largest = one.abs().max().item()
        assert largest > 0 or not other.any(), part
        torch.testing.assert_close(
            one, factor * other, rtol=precision, atol=precision * largest, msg=lambda text, part=part: f"{part}: {text}"
        )
    return factor


def gradient(loss: Tensor, weights: dict[str, nn.Parameter]) -> Tensor:
    """Of all weights in one row; 0 where the loss does not depend on them."""
    if not loss.requires_grad:
        return torch.zeros(sum(weight.numel() for weight in weights.values()))
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, retain_graph=True)
    pairs = zip(found, weights.values(), strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs])


# Terms that many papers share.


def squared_error(seen: Seen) -> Tensor:
    """|x - x'|^2 of the raw output, summed over pixels, mean over the batch."""
    return (seen.x - seen.raw).square().sum() / len(seen.x)


def cross_entropy(seen: Seen) -> Tensor:
    """-sum x log x' + (1 - x) log(1 - x') over pixels, mean over the batch."""
    x, image = seen.x, seen.image
    return -(x * image.log() + (1 - x) * (1 - image).log()).sum() / len(x)


def kl(seen: Seen) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) summed over latents, mean over the batch."""
    mean, variance = seen.q.mean, seen.q.variance
    return 0.5 * (mean.square() + variance - 1 - variance.log()).sum() / len(seen.x)


# Terms of regularizers that several tests write out.


def pairs_mmd(a: Tensor, b: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """By pairs of different points within a set, and all between the two, which have N points each."""
    within = sum(kernel((u - v).square().sum()) for points in (a, b) for u, v in itertools.permutations(points, 2))
    between = sum(kernel((u - v).square().sum()) for u, v in itertools.product(a, b))
    return within / (N * (N - 1)) - 2 * between / N**2


def critics_output(critic: nn.Module, z: Tensor, slope: float) -> Tensor:
    """Of a critic, layer by layer."""
    *hidden, last = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    h = z
    for layer in hidden:
        h = leaky_relu(h @ layer.weight.T + layer.bias, slope)
    return h @ last.weight.T + last.bias

"""The loss of every method that bounds log p(x), against the published one written out, with Bernoulli pixels."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace, StudentT

from latentbench.distributions.spaces import BOX_HALF_WIDTH
from published import SIZES, Loss, Seen, assert_same_up_to_a_factor, cross_entropy, kl, model_and_batch, seen_by

ONE_DRAW = ["regularizer.samples=1"]  # the one that is decoded, as published


def kl_of_the_draw(seen: Seen) -> Tensor:
    """log q(z|x) - log p(z) of the codes, mean over the batch."""
    return (seen.q.log_prob(seen.z) - seen.p.log_prob(seen.z)).sum() / len(seen.x)


def gaussian_density(z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (-0.5 * (z - mean).square() / variance - 0.5 * (2 * math.pi * variance).log()).sum(-1)


def free_bits(seen: Seen) -> Tensor:
    mean, variance = seen.q.mean, seen.q.variance
    each = 0.5 * (mean.square() + variance - 1 - variance.log()).mean(0)
    return sum(torch.maximum(one, torch.tensor(0.25)) for one in each)


def laplace(seen: Seen) -> Tensor:
    q, b = Laplace(seen.q.mean, (seen.q.variance / 2).sqrt()), math.sqrt(0.5)
    each = (b / q.scale).log() + (q.scale * (-q.loc.abs() / q.scale).exp() + q.loc.abs()) / b - 1
    return each.sum() / len(seen.x)


def logistic(seen: Seen) -> Tensor:
    def density(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        u = (z - mean) / scale
        return -u - scale.log() - 2 * (1 + (-u).exp()).log()

    q = density(seen.z, seen.q.mean, (3 * seen.q.variance).sqrt() / math.pi)
    p = density(seen.z, torch.zeros(()), torch.tensor(math.sqrt(3) / math.pi))
    return (q - p).sum() / len(seen.x)


def student_t(seen: Seen) -> Tensor:
    q = StudentT(5.0, seen.q.mean, (seen.q.variance * 3 / 5).sqrt()).log_prob(seen.z)
    return (q - StudentT(5.0, 0.0, math.sqrt(3 / 5)).log_prob(seen.z)).sum() / len(seen.x)


def uniform(seen: Seen) -> Tensor:
    """-H(q) and the logarithm of the box's volume."""
    return (seen.z.shape[1] * math.log(2 * BOX_HALF_WIDTH) - seen.q.entropy()).mean()


def sphere(seen: Seen) -> Tensor:
    """-H(q) and the logarithm of the sphere's area, in as many dimensions as z has coordinates."""
    half = seen.z.shape[1] / 2
    return (math.log(2) + half * math.log(math.pi) - math.lgamma(half) - seen.q.entropy()).mean()


def full_covariance(seen: Seen) -> Tensor:
    triangle = seen.q.scale_tril
    trace = triangle.square().sum() / len(seen.x)
    log_determinant = triangle.diagonal(dim1=1, dim2=2).log().sum(1).mean()
    squares = seen.q.mean.square().sum(1).mean()
    return 0.5 * (trace + squares - seen.z.shape[1]) - log_determinant


def mixture(seen: Seen) -> Tensor:
    q = gaussian_density(seen.z, seen.q.mean, seen.q.variance)
    prior = seen.model.prior
    each = gaussian_density(seen.z[:, None], prior.means, (2 * prior.log_scales).exp())
    return (q - (prior.logits.softmax(0).log() + each).logsumexp(1)).mean()


def vampprior(seen: Seen) -> Tensor:
    """log q(z|x) - log 1/K sum_k q(z|u_k)."""
    inputs = seen.model.prior.pseudo_inputs.sigmoid()
    components = seen.model.posterior_distribution(inputs)
    each = gaussian_density(seen.z[:, None], components.mean, components.variance)
    q = gaussian_density(seen.z, seen.q.mean, seen.q.variance)
    return (q - each.logsumexp(1) + math.log(len(inputs))).mean()


def categorical(seen: Seen) -> Tensor:
    """KL(Cat(q) || Cat(1/K)), summed over groups."""
    numbers = seen.model.head(seen.model.backbone.encode(seen.x))
    log_q = numbers.unflatten(1, (-1, 10)).log_softmax(-1)
    return (log_q.exp() * (log_q + math.log(10))).sum() / len(seen.x)


def vector_quantized(seen: Seen) -> Tensor:
    """|sg(z) - e|^2 + 0.25 |z - sg(e)|^2, mean over groups."""
    encoded = seen.model.head(seen.model.backbone.encode(seen.x)).unflatten(1, seen.model.posterior.codebook.shape[::2])
    book = seen.model.posterior.codebook
    index = (encoded[:, :, None] - book).square().sum(-1).argmin(-1)
    nearest = torch.stack([book[group, index[:, group]] for group in range(len(book))], 1)
    codebook = (encoded.detach() - nearest).square().sum()
    return (codebook + 0.25 * (encoded - nearest.detach()).square().sum()) / (len(seen.x) * len(book))


def importance_weighted(seen: Seen) -> Tensor:
    """-log 1/k sum_s p(x|z_s) p(z_s) / q(z_s|x), less the mean cross-entropy of the draws, which `images` has."""
    total = torch.zeros(())
    for n, x in enumerate(seen.x):
        raw = seen.model.backbone.decode(seen.many[:, n])
        image = raw.sigmoid()
        log_p = (x * image.log() + (1 - x) * (1 - image).log()).flatten(1).sum(1)
        log_q = gaussian_density(seen.many[:, n], seen.q.mean[n], seen.q.variance[n])
        log_prior = gaussian_density(seen.many[:, n], torch.zeros(()), torch.ones(()))
        total = total - (log_p + log_prior - log_q).logsumexp(0) + math.log(len(raw)) + log_p.mean()
    return total / len(seen.x)


def nothing(seen: Seen) -> Tensor:
    return torch.zeros(())


LATENTS: dict[str, tuple[Callable[[Seen], Tensor], list[str]]] = {
    "ae": (nothing, []),
    "categorical_vae": (categorical, []),
    "cyclical_vae": (kl, []),
    "flow_prior_vae": (kl_of_the_draw, ONE_DRAW),
    "free_bits_vae": (free_bits, []),
    "full_covariance_vae": (full_covariance, []),
    "iaf_vae": (kl_of_the_draw, ONE_DRAW),
    "iwae": (importance_weighted, ["objective.samples=3"]),
    "laplace_vae": (laplace, []),
    "logistic_vae": (logistic, ONE_DRAW),
    "mixture_vae": (mixture, ONE_DRAW),
    "power_spherical_vae": (sphere, []),
    "student_t_vae": (student_t, ONE_DRAW),
    "svae": (sphere, []),
    "uniform_vae": (uniform, []),
    "vae": (kl, []),
    "vampprior_vae": (vampprior, ONE_DRAW),
    "vq_vae": (vector_quantized, []),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", LATENTS)
def test_the_loss_is_the_published_one(
    method: str, size: tuple[tuple[int, int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    latents_part, settings = LATENTS[method]
    model, x = model_and_batch(method, size, ["likelihood=bernoulli", *settings], binary=True)
    model.done.share = 0.2  # between two rises of the cyclical weight
    terms, seen, _ = seen_by(model, x, monkeypatch)
    draws = [dataclasses.replace(seen, z=z, raw=model.backbone.decode(z)) for z in seen.many]
    images = torch.stack([cross_entropy(draw) for draw in draws]).mean()
    factor = assert_same_up_to_a_factor(model, terms, Loss(images, latents_part(seen)), precision=1e-3)
    assert factor == pytest.approx(1, abs=1e-3)

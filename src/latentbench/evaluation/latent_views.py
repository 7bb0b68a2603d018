"""Views of the latent space for figures: codes of test images in the plane, and traversals of single coordinates."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from latentbench.distributions.spaces import CODES, SPHERE
from latentbench.metrics.inputs import MetricInputs, not_finite
from latentbench.models.base import GenerativeModel

MAX_POINTS = 1000  # codes in the plane, and latents from which the range of a coordinate is estimated
TRAVERSAL_LINES, TRAVERSAL_STEPS = 8, 8
TRAVERSAL_QUANTILES = (0.01, 0.99)  # the range in which a coordinate is varied


def latent_views(inputs: MetricInputs) -> dict[str, np.ndarray]:
    """The arrays of the views. Views that the model does not have, or that are not finite, are left out.

    `codes` (N, 2), `labels` (N,): test images in the plane; `shares` (2,): explained variance of the two components
    `traversal` (lines * steps, C, H, W): uint8 images; `coordinates` (lines,): the coordinate that each line varies
    """
    model = inputs.model
    views: dict[str, np.ndarray] = {}
    if model.cannot("encode", binary=inputs.data.is_binary):
        latents = sample_prior(model)
    else:
        latents = inputs.codes
        if not_finite(latents, "codes"):
            return views
        # Of very many coordinates, only those of the codes that are shown: a covariance matrix would be large.
        points, shares = project_to_plane(latents[:MAX_POINTS] if latents.shape[1] > MAX_POINTS else latents)
        views["codes"] = points[:MAX_POINTS].float().numpy()
        views["labels"] = inputs.data.splits.labels["test"][:MAX_POINTS].numpy().astype(np.int32)
        if shares is not None:
            views["shares"] = shares.float().numpy()
    z, coordinates = traverse(model, latents)
    images = model.decode(z.flatten(0, 1))
    if not not_finite(images, "pixels"):
        views |= {"traversal": to_uint8(images), "coordinates": coordinates.numpy().astype(np.int32)}
    return views


def sample_prior(model: GenerativeModel) -> Tensor:
    """Latents (MAX_POINTS, D)."""
    return model.prior_distribution().sample(torch.Size([MAX_POINTS]))


def project_to_plane(codes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Codes (N, D) in two dimensions: unchanged if D is 1 or 2, else the first two principal components.

    Returns: (N, 2) in float64 on the CPU, and the components' shares of the variance, (2,), or None for unchanged
    codes. Signs are chosen so that the largest loading of a component is positive.
    """
    exact = codes.double().cpu()
    if exact.shape[1] <= 2:
        return pad(exact, (0, 2 - exact.shape[1])), None
    centred = exact - exact.mean(0)
    if len(exact) < exact.shape[1]:
        _, values, transposed = torch.linalg.svd(centred, full_matrices=False)
        variances, axes = (values.square() / len(exact)).flip(0), transposed.T.flip(1)
    else:
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(exact))  # in ascending order
    first_two = axes[:, [-1, -2]]
    first_two = first_two * first_two.gather(0, first_two.abs().argmax(0, keepdim=True)).sign()
    total = variances.clamp(min=0).sum().clamp(min=torch.finfo(torch.float64).tiny)
    return centred @ first_two, variances[[-1, -2]].clamp(min=0) / total


def traverse(model: GenerativeModel, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents that vary one coordinate of the first of `latents` (N, D) at a time.

    The coordinates with the largest variance are varied between two quantiles. On the sphere the other coordinates are
    rescaled, so that the latent stays on the sphere and they keep their direction. If latents are code words, a group
    is varied instead of a coordinate, over values drawn from the prior.
    Returns: (lines, steps, D), and the coordinate or group that each line varies, (lines,).
    """
    groups = model.prior.latent_size if model.space is CODES else latents.shape[1]
    parts = latents.unflatten(-1, (groups, -1))
    by_variance = parts.var(0, unbiased=False).sum(-1).argsort(descending=True, stable=True)
    varied = by_variance[:TRAVERSAL_LINES].cpu()
    if model.space is CODES:
        draws = sample_prior(model).unflatten(-1, (groups, -1))
        words = [draws[:, group].unique(dim=0) for group in varied.tolist()]
        values = [group_words[: min(TRAVERSAL_STEPS, *map(len, words))] for group_words in words]
    else:
        ends = latents[:, varied].quantile(latents.new_tensor(TRAVERSAL_QUANTILES), dim=0).T.tolist()
        values = [torch.linspace(low, high, TRAVERSAL_STEPS).to(latents)[:, None] for low, high in ends]
    lines = []
    for index, line_values in zip(varied.tolist(), values, strict=True):
        line = parts[0].repeat(len(line_values), 1, 1)
        line[:, index] = line_values
        if model.space is SPHERE:
            others = torch.arange(groups, device=line.device) != index
            length = (latents[0].square().sum() - line_values[:, 0].square()).clamp(min=0).sqrt()
            line[:, others] = normalize(line[:, others], dim=1) * length[:, None, None]
        lines.append(line.flatten(1))
    return torch.stack(lines), varied


def to_uint8(images: Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().byte().cpu().numpy()

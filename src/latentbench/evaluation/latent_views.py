"""What is shown of the latents: where test images lie, and what the decoder makes of one coordinate at a time."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from latentbench.distributions.spaces import CODES, SPHERE
from latentbench.metrics.base import MetricInputs, not_finite
from latentbench.models.base import GenerativeModel

POINTS = 1000  # latents that are shown, or that a coordinate's range is taken from
LINES, STEPS = 8, 8  # of a traversal
ENDS = (0.01, 0.99)  # quantiles between which a coordinate is varied


def shown_latents(inputs: MetricInputs) -> dict[str, np.ndarray]:
    """`codes` and `labels` of test images and `shares`, `traversal` and `coordinates`, as far as the model has them."""
    model = inputs.model
    found: dict[str, np.ndarray] = {}
    if model.cannot("encode", binary=inputs.data.is_binary):
        latents = draws_of_prior(model)
    else:
        latents = inputs.codes
        if not_finite(latents, "codes"):
            return found
        points, shares = in_the_plane(latents)
        found["codes"] = points[:POINTS].float().numpy()
        found["labels"] = inputs.data.splits.labels["test"][:POINTS].numpy().astype(np.int32)
        if shares is not None:
            found["shares"] = shares.float().numpy()
    z, coordinates = varied(model, latents)
    images = model.images(z.flatten(0, 1))
    if not not_finite(images, "pixels"):
        found |= {"traversal": as_bytes(images), "coordinates": coordinates.numpy().astype(np.int32)}
    return found


def draws_of_prior(model: GenerativeModel) -> Tensor:
    """Latents (POINTS, D)."""
    return model.prior_distribution().sample(torch.Size([POINTS]))


def in_the_plane(codes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Two numbers for each of codes (N, D): themselves, else their first principal components.

    Returns: (N, 2) in float64 on the CPU, and the components' shares of the variance, (2,); None for codes as they
    are. Each component points to where its largest loading does.
    """
    exact = codes.double().cpu()
    if exact.shape[1] <= 2:
        return pad(exact, (0, 2 - exact.shape[1])), None
    centred = exact - exact.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(exact))  # in ascending order
    first = axes[:, [-1, -2]]
    first = first * first.gather(0, first.abs().argmax(0, keepdim=True)).sign()
    total = variances.clamp(min=0).sum().clamp(min=torch.finfo(torch.float64).tiny)
    return centred @ first, variances[[-1, -2]].clamp(min=0) / total


def varied(model: GenerativeModel, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents in which one coordinate takes other values and all else is that of the first of `latents` (N, D).

    Coordinates are those of the widest spread, between two quantiles; on the sphere the others give way in length and
    keep their direction. Among code words it is groups that vary, over words which the prior has.
    Returns: (lines, steps, D), and which coordinate, or group, each line varies, (lines,).
    """
    groups = model.prior.latent_size if model.space is CODES else latents.shape[1]
    parts = latents.unflatten(-1, (groups, -1))
    chosen = parts.var(0, unbiased=False).sum(-1).argsort(descending=True, stable=True)[:LINES].cpu()
    if model.space is CODES:
        drawn = draws_of_prior(model).unflatten(-1, (groups, -1))
        words = [drawn[:, group].unique(dim=0) for group in chosen.tolist()]
        values = [of_group[: min(STEPS, *map(len, words))] for of_group in words]
    else:
        ends = latents[:, chosen].quantile(latents.new_tensor(ENDS), dim=0).T.tolist()
        values = [torch.linspace(low, high, STEPS).to(latents)[:, None] for low, high in ends]
    lines = []
    for index, of_line in zip(chosen.tolist(), values, strict=True):
        line = parts[0].repeat(len(of_line), 1, 1)
        line[:, index] = of_line
        if model.space is SPHERE:
            others = torch.arange(groups, device=line.device) != index
            length = (latents[0].square().sum() - of_line[:, 0].square()).clamp(min=0).sqrt()
            line[:, others] = normalize(line[:, others], dim=1) * length[:, None, None]
        lines.append(line.flatten(1))
    return torch.stack(lines), chosen


def as_bytes(images: Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().byte().cpu().numpy()

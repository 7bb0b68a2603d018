"""Draw once, feed every metric."""

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentbench.data.base import ImageData
from latentbench.evaluation.latent_views import as_bytes, shown_latents
from latentbench.features.base import Features
from latentbench.metrics.base import (
    CHUNK,
    INTERPOLATION,
    REAL,
    RECONSTRUCTION,
    Measurements,
    Metric,
    MetricInputs,
    describe,
    not_finite,
)
from latentbench.models.base import GenerativeModel
from latentbench.samplers.base import Sampler

SHOWN = 64  # images of each set that are kept for figures and dashboards
ORIGINAL = "original"  # of the reconstructions that are shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured, how surely and what to mind; what was not and why; uint8 pictures (N, C, H, W) of each set.

    Among `images` are numbers too, which pictures of the latents are drawn from: `codes` and what belongs to them.
    """

    metrics: dict[str, float]
    standard_errors: dict[str, float]
    skipped: dict[str, str]
    caveats: dict[str, str]
    images: dict[str, np.ndarray]
    facts: dict[str, Any]


@torch.no_grad()
def evaluate(
    *,
    model: GenerativeModel,
    data: ImageData,
    samplers: Mapping[str, Sampler],
    features: Features,
    metrics: Mapping[str, Metric],
    seed: int,
    device: torch.device,
) -> Evaluation:
    """Every metric of every sampler, of the reconstructions and of the test images.

    Each set has as many images as validation and test split both have. Every draw has a seed of its own, so that
    no number depends on which other samplers and metrics are measured beside it.
    """
    model.to(device).eval()
    inputs = gather(model, data, samplers, features.to(device), seed, device)
    found = Measurements()
    for name, metric in tqdm(metrics.items(), desc="metrics", unit="metric", leave=False, disable=None):
        # Every process has all images: put together they would count twice.
        metric.distributed_available_fn = lambda: False
        with seeded(seed, f"metric {name}"):
            found.join(metric.to(device).measure(inputs))
    numbers = found.numbers
    for key in [key for key, value in numbers.items() if not math.isfinite(value)]:
        found.skipped[key] = f"the value is {numbers.pop(key)}, not a finite number"
    facts = {
        "features": features.name,
        "images_per_set": len(inputs.reference),
        "test_images": len(inputs.test),
        "metrics": describe(metrics),
        **model.facts(),
    }
    return Evaluation(
        metrics=numbers,
        standard_errors={
            key: error for key, error in found.standard_errors.items() if key in numbers and math.isfinite(error)
        },
        skipped=found.skipped,
        caveats={key: text for key, text in found.caveats.items() if key in numbers},
        images=pictures(inputs, seed),
        facts=facts,
    )


def gather(
    model: GenerativeModel,
    data: ImageData,
    samplers: Mapping[str, Sampler],
    features: Features,
    seed: int,
    device: torch.device,
) -> MetricInputs:
    """Make the images of every set, once."""
    n = min(data.size("validation"), data.size("test"))
    images = {REAL: data.expected_images("validation")[:n].to(device)}
    skipped = {}
    latents = None
    no_latents = model.cannot("encode", binary=data.is_binary)
    if no_latents:
        skipped[RECONSTRUCTION] = skipped[INTERPOLATION] = no_latents
    else:
        observed = data.images("validation")[:n].to(device)
        codes = torch.cat([model.code(batch) for batch in observed.split(CHUNK)])
        images[RECONSTRUCTION] = torch.cat([model.images(z) for z in codes.split(CHUNK)])
        if no_way := model.cannot("interpolate", binary=data.is_binary):
            skipped[INTERPOLATION] = no_way
        else:
            between = model.interpolate(codes, codes.roll(1, 0))
            images[INTERPOLATION] = torch.cat([model.images(z) for z in between.split(CHUNK)])
        no_latents = not_finite(codes, "codes")
        if not no_latents and any(sampler.needs_latents for sampler in samplers.values()):
            with seeded(seed, "training latents"):
                batches = data.images("train").split(CHUNK)
                latents = torch.cat([model.posterior_distribution(x.to(device)).sample() for x in batches])
            no_latents = not_finite(latents, "latents")
    for name, sampler in samplers.items():
        if sampler.needs_latents and no_latents:
            skipped[name] = f"{no_latents}, so there are no latents to fit this sampler to"
            continue
        if latents is not None and len(latents) < sampler.min_latents:
            skipped[name] = (
                f"this sampler is fitted to {sampler.min_latents} latents or more, and there are {len(latents)}"
            )
            continue
        with seeded(seed, f"sampler {name}"):
            sampler.fit(prior=model.prior_distribution(), latents=latents, seed=seed)
            images[name] = torch.cat([model.images(z) for z in sampler.draw(n).split(CHUNK)])
    for name in list(images):
        if reason := not_finite(images[name], "pixels"):
            skipped[name] = reason
            del images[name]
    return MetricInputs(
        model=model,
        data=data,
        features=features,
        images=images,
        skipped=skipped,
        reference=data.expected_images("test")[:n].to(device),
        test=data.images("test").to(device),
    )


@contextlib.contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Random numbers of this purpose alone; what is drawn outside stays as if nothing had been drawn inside."""
    with torch.random.fork_rng():
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:7], "big"))
        yield


def pictures(inputs: MetricInputs, seed: int) -> dict[str, np.ndarray]:
    """The first images of every set as uint8, the originals of reconstructions, and what is shown of the latents."""
    sets: dict[str, Tensor] = dict(inputs.images)
    if RECONSTRUCTION in sets:
        sets[ORIGINAL] = inputs.data.images("validation")
    with seeded(seed, "pictures of latents"):
        latents = shown_latents(inputs)
    return {name: as_bytes(images[:SHOWN]) for name, images in sets.items()} | latents

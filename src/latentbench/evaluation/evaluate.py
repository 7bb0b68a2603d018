"""Evaluation of a trained model: generate the images of every set once, then measure every metric on them."""

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
from latentbench.evaluation.latent_views import latent_views, to_uint8
from latentbench.features.base import Features
from latentbench.metrics.base import Metric, describe_quantities
from latentbench.metrics.inputs import INTERPOLATION, REAL, RECONSTRUCTION, MetricInputs, in_chunks, not_finite
from latentbench.metrics.measurements import Measurements
from latentbench.models.base import GenerativeModel
from latentbench.samplers.base import Sampler

FIGURE_IMAGES = 64  # images of each set that are stored for figures and dashboards
ORIGINAL = "original"  # the images whose reconstructions are stored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of an evaluation; the keys of metrics are `quantity/set_name`."""

    metrics: dict[str, float]
    standard_errors: dict[str, float]
    skipped: dict[str, str]  # why a key has no value
    caveats: dict[str, str]
    images: dict[str, np.ndarray]  # uint8 images (N, C, H, W) of every set, and the arrays of `latent_views`
    facts: dict[str, Any]  # how it was measured: features, numbers of images, units; and the facts of the model


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
    """Measure every metric: on the images of every sampler, on reconstructions and interpolations, and on test images.

    Every set has min(validation images, test images) images. Each sampler and each metric draws with its own seed, so
    that no value depends on which other samplers and metrics are evaluated.
    """
    model.to(device).eval()
    inputs = make_metric_inputs(model, data, samplers, features.to(device), seed, device)
    measurements = Measurements()
    for name, metric in tqdm(metrics.items(), desc="metrics", unit="metric", leave=False, disable=None):
        # Every process has all images. If they were combined across processes, they would count several times.
        metric.distributed_available_fn = lambda: False
        with seeded(seed, f"metric {name}"):
            measurements.merge(metric.to(device).measure(inputs))
    values = measurements.values
    for key in [key for key, value in values.items() if not math.isfinite(value)]:
        measurements.skipped[key] = f"the value is {values.pop(key)}, not a finite number"
    facts = {
        "features": features.name,
        "images_per_set": len(inputs.reference),
        "test_images": len(inputs.test_images),
        "metrics": describe_quantities(metrics),
        **model.facts(),
    }
    return Evaluation(
        metrics=values,
        standard_errors={
            key: error for key, error in measurements.standard_errors.items() if key in values and math.isfinite(error)
        },
        skipped=measurements.skipped,
        caveats={key: caveat for key, caveat in measurements.caveats.items() if key in values},
        images=figure_images(inputs, seed),
        facts=facts,
    )


def make_metric_inputs(
    model: GenerativeModel,
    data: ImageData,
    samplers: Mapping[str, Sampler],
    features: Features,
    seed: int,
    device: torch.device,
) -> MetricInputs:
    """Generate the images of every set, or record why a set has none."""
    n = min(data.size("validation"), data.size("test"))
    images = {REAL: data.expected_images("validation")[:n].to(device)}
    skipped = {}
    latents = None
    no_latents = model.cannot("encode", binary=data.is_binary)
    if no_latents:
        skipped[RECONSTRUCTION] = skipped[INTERPOLATION] = no_latents
    else:
        validation_images = data.images("validation")[:n].to(device)
        codes = in_chunks(model.encode, validation_images)
        images[RECONSTRUCTION] = in_chunks(model.decode, codes)
        if no_interpolation := model.cannot("interpolate", binary=data.is_binary):
            skipped[INTERPOLATION] = no_interpolation
        else:
            images[INTERPOLATION] = in_chunks(model.decode, model.interpolate(codes, codes.roll(1, 0)))
        no_latents = not_finite(codes, "codes")
        if not no_latents and any(sampler.needs_latents for sampler in samplers.values()):
            with seeded(seed, "training latents"):
                latents = in_chunks(lambda x: model.posterior_distribution(x.to(device)).sample(), data.images("train"))
            no_latents = not_finite(latents, "latents")
    for name, sampler in samplers.items():
        if sampler.needs_latents and no_latents:
            skipped[name] = f"{no_latents}, so there are no latents to fit this sampler to"
            continue
        if latents is not None and len(latents) < sampler.min_latents:
            skipped[name] = f"this sampler needs at least {sampler.min_latents} latents, and there are {len(latents)}"
            continue
        with seeded(seed, f"sampler {name}"):
            sampler.fit(prior=model.prior_distribution(), latents=latents, seed=seed)
            images[name] = in_chunks(model.decode, sampler.draw(n))
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
        test_images=data.images("test").to(device),
    )


@contextlib.contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch's random numbers for one purpose, and restore their state afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:7], "big"))
        yield


def figure_images(inputs: MetricInputs, seed: int) -> dict[str, np.ndarray]:
    """Arrays for figures: the first images of every set, the originals of the reconstructions, and the latent views."""
    sets: dict[str, Tensor] = dict(inputs.images)
    if RECONSTRUCTION in sets:
        sets[ORIGINAL] = inputs.data.images("validation")
    with seeded(seed, "pictures of latents"):
        views = latent_views(inputs)
    return {name: to_uint8(images[:FIGURE_IMAGES]) for name, images in sets.items()} | views

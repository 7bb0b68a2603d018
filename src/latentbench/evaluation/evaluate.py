"""Evaluation of a trained model: generate the images of every set once, then measure every metric on them."""

import contextlib
import copy
import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentbench.data.base import ImageData
from latentbench.evaluation.latent_views import latent_views, to_uint8
from latentbench.features.base import Features
from latentbench.features.classifier import ClassifierFeatures
from latentbench.features.random_convolutions import RandomConvolutions
from latentbench.metrics.base import FeatureMetric, ImageMetric, Metric, describe_quantities
from latentbench.metrics.inputs import CHUNK, INTERPOLATION, RECONSTRUCTION, MetricInputs, in_chunks, not_finite
from latentbench.metrics.measurements import Measurements
from latentbench.models.base import GenerativeModel
from latentbench.records.keys import CLASSIFIER, REAL, TEST, VALIDATION, View
from latentbench.records.measuring import Cells, Evaluation, Request
from latentbench.samplers.base import Sampler

log = logging.getLogger(__name__)

FIGURE_IMAGES = 64  # images of each set that are stored for figures and dashboards
ORIGINAL = "original"  # the images whose reconstructions are stored


@torch.no_grad()
def evaluate(
    *,
    model: GenerativeModel,
    data: ImageData,
    samplers: Mapping[str, Sampler],
    features: Mapping[str, Features],
    metrics: Mapping[str, Metric],
    seed: int,
    device: torch.device,
    cells: Request | None = None,
    with_views: bool = True,
) -> Evaluation:
    """Measure metrics on the images of samplers, on reconstructions and interpolations, and on held-out images.

    Every set has min(validation images, test images) images. Each sampler and each metric draws with its own seed, so
    that no value depends on which other samplers and metrics are evaluated. A metric that raises an error is skipped
    with the error as its reason; the others are measured.

    cells: the sets on which to measure each metric, and how; None: every metric on every set, in all features, against
        test images
    with_views: also generate the sets without a sampler, and the views of the latents, for figures
    """
    model.to(device).eval()
    cells = cells or {(name, View(TEST, None)): Cells(frozenset(samplers), True) for name in metrics}
    cells = with_kinds_of_features(cells, metrics, list(features))
    with_other_sets = with_views or any(
        each.others and isinstance(metrics[name], ImageMetric) for (name, _), each in cells.items()
    )
    inputs = make_metric_inputs(model, data, samplers, next(iter(features.values())), seed, device, with_other_sets)
    against = {TEST: inputs}
    if any(view.split == VALIDATION for _, view in cells):
        against[VALIDATION] = inputs.against_validation()
    for kind in features.values():
        kind.to(device)
    measurements = Measurements()
    failed: dict[tuple[str, View], str] = {}
    for (name, view), each in tqdm(cells.items(), desc="metrics", unit="metric", leave=False, disable=None):
        metric = copy.deepcopy(metrics[name])  # nothing of one view is left in another
        # Every process has all images. If they were combined across processes, they would count several times.
        metric.distributed_available_fn = lambda: False
        metric_inputs = against[view.split].restricted_to(each)
        if isinstance(metric, FeatureMetric):
            assert view.features is not None
            metric_inputs = metric_inputs.with_features(features[view.features])
        try:
            with seeded(seed, f"metric {name}"):
                measured = metric.to(device).measure(metric_inputs)
            if isinstance(metric, FeatureMetric) and view.features == CLASSIFIER:
                measured.warn(caveat_of(metric_inputs.features, data))
            if isinstance(metric, ImageMetric):
                measured.warn(data.noise_caveat)
        except Exception as error:
            log.exception("metric %s failed; the others are measured", name)
            failed[name, view] = " ".join(f"{type(error).__name__}: {error}".split())
            sets = [*metric_inputs.images, *metric_inputs.skipped] if isinstance(metric, ImageMetric) else [TEST]
            measured = Measurements()
            for set_name in sets:
                measured.skip(metric.quantities, set_name, failed[name, view])
        measurements.merge(measured.seen(view))
    values = measurements.values
    for key in [key for key, value in values.items() if not math.isfinite(value)]:
        measurements.skipped[key] = f"the value is {values.pop(key)}, not a finite number"
    facts = {
        "features": {option: kind.name for option, kind in features.items()},
        "images_per_set": len(inputs.reference),
        "test_images": len(inputs.held_out),
        "metrics": describe_quantities(metrics, model.levels),
        **model.facts(),
    }
    return Evaluation(
        metrics=values,
        standard_errors={
            key: error for key, error in measurements.standard_errors.items() if key in values and math.isfinite(error)
        },
        skipped=measurements.skipped,
        caveats={key: caveat for key, caveat in measurements.caveats.items() if key in values},
        quantities={name: list(metric.quantities) for name, metric in metrics.items()},
        uses_features={name: isinstance(metric, FeatureMetric) for name, metric in metrics.items()},
        cells=cells,
        failed=failed,
        facts=facts,
        images=figure_images(inputs, seed, with_views=with_views),
    )


def caveat_of(features: Features, data: ImageData) -> str:
    """What a reader of a key that names no features must know if they are not those of the data set's classifier."""
    if isinstance(features, ClassifierFeatures):
        return ""
    kind = "random convolutions" if isinstance(features, RandomConvolutions) else "features"
    return (
        f"in {kind} ({features.name}), since {data.name} has no classifier: compare only numbers with this caveat, or "
        "train a classifier with latentbench-features and measure again"
    )


def with_kinds_of_features(cells: Request, metrics: Mapping[str, Metric], features: Sequence[str]) -> Request:
    """The same cells, with one for every kind of features where any are meant and the metric uses some."""
    named: dict[tuple[str, View], Cells] = {}
    for (name, view), each in cells.items():
        kinds = features if isinstance(metrics[name], FeatureMetric) else [CLASSIFIER]
        meant = kinds if view.features is None else [view.features]
        named |= {(name, view._replace(features=kind)): each for kind in meant}
    return named


def make_metric_inputs(
    model: GenerativeModel,
    data: ImageData,
    samplers: Mapping[str, Sampler],
    features: Features,
    seed: int,
    device: torch.device,
    with_other_sets: bool,
) -> MetricInputs:
    """Generate the images of every set, or record why a set has none.

    with_other_sets: also of those without a sampler
    """
    n = min(data.size("validation"), data.size("test"))
    images, skipped, no_latents = {}, {}, model.cannot("encode", binary=data.is_binary)
    latents = None
    if with_other_sets:
        images[REAL] = data.expected_images("validation", slice(n)).to(device)
    if no_latents and with_other_sets:
        skipped[RECONSTRUCTION] = skipped[INTERPOLATION] = no_latents
    elif not no_latents:
        codes = in_chunks(model.encode, data.images("validation")[:n].to(device))
        if with_other_sets:
            images[RECONSTRUCTION] = in_chunks(model.decode, codes)
            if no_interpolation := model.cannot("interpolate", binary=data.is_binary):
                skipped[INTERPOLATION] = no_interpolation
            else:
                images[INTERPOLATION] = in_chunks(model.decode, model.interpolate(codes, codes.roll(1, 0)))
        no_latents = not_finite(codes, "codes")
        if not no_latents and any(sampler.needs_latents for sampler in samplers.values()):
            with seeded(seed, "training latents"):
                latents = torch.cat(
                    [model.posterior_distribution(x.to(device)).sample() for x in data.chunks("train", CHUNK)]
                )
            no_latents = not_finite(latents, "latents")
    for name, sampler in samplers.items():
        if sampler.needs_latents and no_latents:
            skipped[name] = f"{no_latents}, so there are no latents to fit this sampler to"
            continue
        if latents is not None and (reason := sampler.refuses(latents)):
            skipped[name] = reason
            continue
        with seeded(seed, f"sampler {name}"):
            prior = model.prior_distribution()
            sampler.fit(prior=prior, latents=latents, seed=seed)
            images[name] = in_chunks(model.decode, sampler.checked_draw(n, prior=prior, latents=latents))
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
        reference=data.expected_images("test", slice(n)).to(device),
        held_out=data.images("test").to(device),
    )


@contextlib.contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch's random numbers for one purpose, and restore their state afterwards."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:7], "big")
    with torch.random.fork_rng():
        if torch.accelerator.is_available():
            torch.manual_seed(number)
        else:  # for every kind of device that is not there, torch.manual_seed stores the whole call stack
            torch.default_generator.manual_seed(number)
        yield


def figure_images(inputs: MetricInputs, seed: int, *, with_views: bool) -> dict[str, np.ndarray]:
    """Arrays for figures: the first images of every set, the originals of the reconstructions, and the latent views."""
    sets: dict[str, Tensor] = dict(inputs.images)
    if RECONSTRUCTION in sets:
        sets[ORIGINAL] = next(inputs.data.chunks("validation", FIGURE_IMAGES))
    views = {}
    if with_views:
        with seeded(seed, "pictures of latents"):
            views = latent_views(inputs)
    return {name: to_uint8(images[:FIGURE_IMAGES]) for name, images in sets.items()} | views

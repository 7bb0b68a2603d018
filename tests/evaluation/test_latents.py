"""Views of the latent space show the model's latents, and making them changes no number."""

from typing import Any

import numpy as np
import pytest
import torch

from latentbench.contracts.images import few_digits
from latentbench.contracts.options import part_of, untrained
from latentbench.data.base import ImageData
from latentbench.evaluation import evaluate as evaluation
from latentbench.evaluation import latent_views as module
from latentbench.evaluation.latent_views import (
    MAX_POINTS,
    TRAVERSAL_LINES,
    TRAVERSAL_STEPS,
    latent_views,
    project_to_plane,
    sample_prior,
    traverse,
)
from latentbench.metrics.inputs import MetricInputs
from latentbench.models.base import GenerativeModel
from latentbench.reporting.image_grids import pictures
from latentbench.reporting.plots import scatter

SPACES = ("method=vae", "method=aae prior=uniform", "method=svae", "method=categorical_vae", "method=vq_vae")
GANS = ("method=gan", "method=gan prior=categorical", "method=gan prior=hypersphere")


def model_and_data(overrides: str, n: int = 40) -> tuple[GenerativeModel, ImageData]:
    data = few_digits(n)
    return untrained(data, "backbone.hidden=[16]", *overrides.split()).eval(), data


def inputs_for(overrides: str, n: int = 40) -> MetricInputs:
    model, data = model_and_data(overrides, n)
    test = data.images("test")
    features = part_of("features", "pixels", data_name=data.name, shape=data.shape)
    return MetricInputs(
        model=model, data=data, features=features, images={"real": test}, skipped={}, reference=test, held_out=test
    )


def fresh(inputs: MetricInputs) -> MetricInputs:
    """The same inputs, without the codes and features that are computed already."""
    names = ("model", "data", "features", "images", "skipped", "reference", "held_out")
    return MetricInputs(**{name: getattr(inputs, name) for name in names})


@torch.no_grad()
def shown(overrides: str, n: int = 40) -> tuple[dict[str, np.ndarray], MetricInputs]:
    inputs = inputs_for(overrides, n)
    return latent_views(inputs), inputs


# Codes in the plane


def test_two_coordinates_are_shown_unchanged() -> None:
    views, inputs = shown("method=vae latent_size=2")
    np.testing.assert_array_equal(views["codes"], inputs.codes.detach().numpy())
    np.testing.assert_array_equal(views["labels"], inputs.data.splits.labels["test"])
    assert "shares" not in views


def test_one_coordinate_is_a_line() -> None:
    views, inputs = shown("method=vae latent_size=1")
    np.testing.assert_array_equal(views["codes"][:, :1], inputs.codes.detach().numpy())
    assert (views["codes"][:, 1] == 0).all()


@pytest.mark.parametrize("more", [0, 10_000])
def test_more_coordinates_are_shown_by_principal_components(more: int) -> None:
    codes = (torch.randn(50, 5) * torch.tensor([1.0, 4.0, 0.5, 2.0, 1.0]) + 3).double()
    codes = torch.cat([codes, torch.full((50, more), 2.0)], 1)  # which do not vary
    points, shares = project_to_plane(codes)
    u, s, _ = np.linalg.svd((codes - codes.mean(0)).numpy(), full_matrices=False)
    np.testing.assert_allclose(points.abs().numpy(), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    assert shares is not None
    np.testing.assert_allclose(shares.numpy(), s[:2] ** 2 / (s**2).sum())
    assert np.corrcoef(points[:, 0].numpy(), codes[:, 1].numpy())[0, 1] > 0.9


def test_codes_that_are_all_alike_are_one_point() -> None:
    points, shares = project_to_plane(torch.ones(9, 4))
    assert points.abs().max() < 1e-12
    assert shares is not None
    assert shares.tolist() == [0, 0]


def test_only_the_first_of_many_test_images_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POINTS", 7)
    views, inputs = shown("method=vae latent_size=2")
    np.testing.assert_array_equal(views["codes"], inputs.codes.detach()[:7].numpy())
    assert views["labels"].shape == (7,)
    assert MAX_POINTS <= 1000, "published folders stay small"


def test_the_scatter_has_every_code_under_its_label() -> None:
    codes, labels = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 10
    (axes,) = scatter(codes, labels, names=("a", "b")).axes
    for label, line in enumerate(axes.lines):
        np.testing.assert_array_equal(line.get_xydata(), codes[labels == label])
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines}
    assert len(looks) == 10, "ten labels differ in colour or mark"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")


# Traversals


@torch.no_grad()
@pytest.mark.parametrize("overrides", [*SPACES, *GANS])
def test_a_line_varies_one_coordinate(overrides: str) -> None:
    inputs = inputs_for(overrides)
    model = inputs.model
    given = sample_prior(model) if "gan" in overrides else inputs.codes
    z, coordinates = traverse(model, given)
    assert len(z) == len(coordinates) == len(set(coordinates.tolist())) == min(TRAVERSAL_LINES, len(coordinates))
    groups = 8 if any(word in overrides for word in ("categorical", "vq_vae")) else z.shape[-1]
    parts, first = z.unflatten(-1, (groups, -1)), given[0].unflatten(-1, (groups, -1))
    for line, index in zip(parts, coordinates.tolist(), strict=True):
        assert len(line[:, index].unique(dim=0)) == z.shape[1]
        others = torch.arange(groups) != index
        if any(word in overrides for word in ("svae", "hypersphere")):
            torch.testing.assert_close(line.flatten(1).norm(dim=1), given[0].norm().expand(len(line)))
            cosine = torch.cosine_similarity(line[:, others].flatten(1), first[others].flatten()[None])
            torch.testing.assert_close(cosine, torch.ones(len(line)))
        else:
            assert (line[:, others] == first[others]).all()
    spread = given.unflatten(-1, (groups, -1)).var(0).sum(-1)[coordinates]
    assert (spread.diff() <= 1e-6).all(), "the widest first"


@torch.no_grad()
def test_a_coordinate_goes_from_one_end_of_the_codes_to_the_other() -> None:
    inputs = inputs_for("method=vae latent_size=3")
    z, coordinates = traverse(inputs.model, inputs.codes)
    for line, index in zip(z, coordinates.tolist(), strict=True):
        low, high = np.quantile(inputs.codes[:, index].numpy(), [0.01, 0.99])
        np.testing.assert_allclose(line[:, index], np.linspace(low, high, TRAVERSAL_STEPS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("overrides", [*SPACES, *GANS])
def test_the_images_of_a_traversal_are_decoded_line_by_line(overrides: str) -> None:
    views, inputs = shown(overrides)
    lines = len(views["coordinates"])
    assert views["traversal"].dtype == np.uint8
    assert len(views["traversal"]) % lines == 0
    assert views["traversal"].shape[1:] == inputs.data.shape
    assert ("codes" in views) == ("gan" not in overrides)


def test_views_that_are_not_finite_are_left_out() -> None:
    inputs = inputs_for("method=vae")
    for part, left in (("backbone.decoder", {"codes", "labels", "shares"}), ("head", set())):
        with torch.no_grad():
            for parameter in inputs.model.get_submodule(part).parameters():
                parameter.fill_(torch.nan)
            assert set(latent_views(fresh(inputs))) == left


# Captions


def test_captions_say_what_is_seen() -> None:
    views, _ = shown("method=vae")
    made = pictures(views, lines=8)
    first, second = (f"{100 * share:.0f} %" for share in views["shares"])
    assert made["codes"].caption == (
        "latents of 40 test images, coloured by label: their first two principal components, "
        f"with {first} and {second} of the variance"
    )
    order = ", ".join(map(str, views["coordinates"]))
    assert f"coordinates {order} (counted from 0)" in made["traversal"].caption
    assert "the codes of test images" in made["traversal"].caption
    generated, _ = shown("method=gan")
    assert "draws of the prior" in pictures(generated, lines=8)["traversal"].caption


def test_a_single_label_is_not_coloured() -> None:
    views = {"codes": np.zeros((3, 2), np.float32), "labels": np.zeros(3, np.int32)}
    assert pictures(views, lines=8)["codes"].caption == "latents of 3 test images"


def test_a_traversal_is_pictured_line_by_line() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 5, 5), dtype=np.uint8)
    views = {"traversal": images, "coordinates": np.array([4, 2])}
    pixels = pictures(views, lines=8)["traversal"].pixels
    assert pixels.shape == (2 * 6 - 1, 3 * 6 - 1, 2)
    np.testing.assert_array_equal(pixels[6:, :5, 0], images[3, 0])


# Numbers


@pytest.mark.parametrize("overrides", ["method=vae", "method=vq_vae", "method=gan"])
def test_latent_views_change_no_number(overrides: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> tuple[dict[str, float], torch.Tensor]:
        torch.manual_seed(0)
        model, data = model_and_data(overrides)
        made = evaluation.evaluate(
            model=model,
            data=data,
            samplers={"prior": part_of("sampler", "prior")},
            features={"pixels": part_of("features", "pixels", data_name=data.name, shape=data.shape)},
            metrics={name: part_of("metric", name) for name in ("kid", "sharpness", "rate", "active_units")},
            seed=0,
            device=torch.device("cpu"),
        )
        return made.metrics, torch.rand(3)

    def nothing(_: Any) -> dict[str, np.ndarray]:
        return {}

    metrics, random = measured()
    monkeypatch.setattr(evaluation, "latent_views", nothing)
    without, unmoved = measured()
    assert metrics == without
    assert torch.equal(random, unmoved)

"""A trained run opened from Python draws, encodes and measures as it did at the end of its training."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import latentbench
from commands import latentbench as latentbench_command
from commands import the_one_line
from latentbench.cli import sample
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import options, part_of
from latentbench.data.base import ImageData
from latentbench.errors import UserError
from latentbench.evaluation.latent_views import to_uint8
from latentbench.evaluation.stored_run import StoredRun
from latentbench.records.record import load
from latentbench.records.run_folder import load_images
from tiny_runs import digits_are_few, run_tiny

METRICS = ("metric=[nll,reconstruction]", "metric.nll.samples=20")
GREY = few_digits().splits.images["test"]  # uint8


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with digits_are_few():
        yield


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_tiny(tmp_path_factory.mktemp("vae"), *METRICS, "likelihood=gaussian")


@pytest.fixture(scope="module")
def vae(vae_folder: Path) -> StoredRun:
    return latentbench.load(vae_folder)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return latentbench.load(run_tiny(tmp_path_factory.mktemp("gan"), "method=gan", *METRICS, "sampler=[prior]"))


@pytest.fixture
def copied(vae_folder: Path, tmp_path: Path) -> Path:
    """The folder of a run; a test may damage it."""
    return Path(shutil.copytree(vae_folder, tmp_path / vae_folder.name))


# What a run gives


@pytest.mark.parametrize("sampler", ["prior", "gaussian", "gmm"])
def test_samples_are_the_images_of_the_evaluation(vae: StoredRun, sampler: str) -> None:
    drawn = vae.sample(40, sampler=sampler, seed=vae.config.seed)
    np.testing.assert_array_equal(to_uint8(drawn), load_images(vae.folder / "images.npz")[sampler])
    assert torch.equal(vae.sample(40, sampler=sampler, seed=vae.config.seed), drawn)
    assert not torch.equal(vae.sample(40, sampler=sampler, seed=1), drawn)


def test_a_run_is_measured_with_its_own_seed(tmp_path: Path) -> None:
    run = latentbench.load(run_tiny(tmp_path, "metric=[reconstruction]", "sampler=[prior]", "seed=1"))
    stored = load_images(run.folder / "images.npz")["prior"]
    np.testing.assert_array_equal(to_uint8(run.sample(40, seed=1)), stored)
    assert not np.array_equal(to_uint8(run.sample(40, seed=0)), stored)


def test_a_likelihood_of_grey_levels_is_in_other_units_than_a_density(vae: StoredRun, tmp_path: Path) -> None:
    levels = latentbench.load(run_tiny(tmp_path, *METRICS, "likelihood=logistic"))
    units = [run.record.config["resolved"]["metrics"]["nll"]["units"] for run in (vae, levels)]
    assert units == ["nats", "nats of 256 levels"]


def test_a_gan_draws_the_images_of_its_evaluation(gan: StoredRun) -> None:
    np.testing.assert_array_equal(to_uint8(gan.sample(40)), load_images(gan.folder / "images.npz")["prior"])


def test_a_sampler_that_was_not_measured_can_be_drawn_from(vae: StoredRun) -> None:
    images = vae.sample(7, sampler="kde")
    assert images.shape == (7, 1, 8, 8)
    assert ((images >= 0) & (images <= 1)).all()


def test_drawing_leaves_the_random_numbers_of_the_user_alone(vae_folder: Path) -> None:
    expected = torch.random.get_rng_state()
    run = latentbench.load(vae_folder)
    run.sample(3, sampler="gmm")
    run.log_likelihood(GREY[:2], samples=5)
    assert torch.equal(torch.random.get_rng_state(), expected)


@torch.no_grad()
def test_codes_and_reconstructions_are_those_of_the_model(vae: StoredRun) -> None:
    x = vae.data.images("test")
    codes = vae.encode(x)
    assert torch.equal(codes, vae.model.encode(x))
    assert torch.equal(vae.decode(codes), vae.model.decode(codes))
    assert torch.equal(vae.decode(codes.numpy()), vae.decode(codes))
    assert torch.equal(vae.reconstruct(x), vae.model.reconstruct(x))
    images = load_images(vae.folder / "images.npz")
    validation = vae.reconstruct(vae.data.images("validation"))
    np.testing.assert_array_equal(to_uint8(validation), images["reconstruction"])


@torch.no_grad()
def test_latents_are_the_codes_of_the_evaluation(vae: StoredRun) -> None:
    np.testing.assert_array_equal(vae.latents("test").numpy(), load_images(vae.folder / "images.npz")["codes"])
    assert torch.equal(vae.latents("train"), vae.model.encode(vae.data.images("train")))


def test_the_model_is_that_of_the_record_and_ready_for_use(vae: StoredRun) -> None:
    assert not vae.model.training
    assert sum(parameter.numel() for parameter in vae.model.parameters()) == vae.record.n_parameters
    mse = (vae.reconstruct(GREY) - vae.data.images("test")).square().mean()
    assert mse.item() == pytest.approx(vae.record.metrics["mse/test"], rel=1e-6)


def test_the_model_is_there_without_the_data(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: ImageData) -> None:
        raise UserError("no such files")

    monkeypatch.setattr(ImageData, "setup", missing)
    run = latentbench.load(copied)
    assert len(run.sample(3)) == len(run.encode(GREY[:3])) == 3
    with pytest.raises(UserError, match="no such files"):
        run.latents("test")


def test_a_run_from_before_settings_were_added_opens(copied: Path) -> None:
    path = copied / "config.yaml"
    config = OmegaConf.load(path)
    for group in ("optimizer", "schedule"):
        del config[group]
    for key in ("gradient_clip", "accumulate", "ema", "patience", "keep"):
        del config.trainer[key]
    del config.data.flip
    path.write_text(OmegaConf.to_yaml(config))
    run = StoredRun.open(copied)
    assert run.sample(2).shape == (2, *run.data.shape)


def test_samples_of_the_command_line_are_one_picture_of_the_same_images(vae: StoredRun, tmp_path: Path) -> None:
    out = tmp_path / "new" / "samples.png"
    finished = latentbench_command(str(vae.folder), "n=4", "sampler=gmm", "seed=3", f"out={out}", program=sample.main)
    assert (finished.code, finished.out, finished.err) == (0, f"{out}\n", "")
    with Image.open(out) as picture:
        pixels = np.asarray(picture)[::3, ::3]  # small images are enlarged
    for image in to_uint8(vae.sample(4, sampler="gmm", seed=3))[:, 0]:
        windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 0] if pixels.ndim == 3 else pixels, (8, 8))
        assert (windows == image).all((2, 3)).any()


def test_what_is_no_run_and_no_png_draws_nothing(vae: StoredRun, tmp_path: Path) -> None:
    refused = latentbench_command(str(vae.folder), f"out={tmp_path / 'samples.jpg'}", program=sample.main)
    assert "samples.jpg: give a file that ends in .png" in the_one_line(refused)
    refused = latentbench_command(str(tmp_path), f"out={tmp_path / 'samples.png'}", program=sample.main)
    assert refused.code == 2
    assert "is not the folder of a trained run" in the_one_line(refused)
    assert list(tmp_path.iterdir()) == []


# Interpolations


def test_interpolations_go_from_one_reconstruction_to_the_other(vae: StoredRun) -> None:
    first, last = GREY[0], GREY[1]
    images = vae.interpolate(first, last, steps=5)
    assert images.shape == (5, 1, 8, 8)
    ends = vae.reconstruct([first, last])
    torch.testing.assert_close(images[[0, -1]], ends)
    middle = vae.model.prior.midpoint(*vae.encode([first, last]).split(1))
    torch.testing.assert_close(images[2:3], vae.decode(middle))


def test_an_interpolation_needs_one_image_at_each_end_and_two_steps(vae: StoredRun) -> None:
    for wrong in ((GREY[:2], GREY[0], 5), (GREY[0], GREY[:2], 5), (GREY[0], GREY[1], 1)):
        with pytest.raises(ValueError, match="give one image as start, one as end, and 2 or more steps"):
            vae.interpolate(*wrong[:2], steps=wrong[2])


@pytest.mark.parametrize("option", options("prior"))
def test_a_priors_path_has_its_ends_and_its_midpoint(option: str) -> None:
    prior = part_of("prior", option, latent_size=3, shape=(1, 8, 8))
    start, end = torch.nn.functional.normalize(torch.randn(2, 20, prior.coordinates), dim=-1)
    torch.testing.assert_close(prior.interpolate(start, end, 0.0), start)
    torch.testing.assert_close(prior.interpolate(start, end, 1.0), end)
    torch.testing.assert_close(prior.interpolate(start, end, 0.5), prior.midpoint(start, end))


# Likelihoods


def test_log_likelihoods_agree_with_the_recorded_nll(vae: StoredRun) -> None:
    samples = vae.record.config["metric"]["nll"]["samples"]
    found = vae.log_likelihood(vae.data.images("test"), samples=samples)
    assert found.value.shape == found.standard_error.shape == (40,)
    error = (2 * found.standard_error.square().sum()).sqrt() / 40  # of the difference of two such means
    assert 0 < error < 0.5
    assert abs(found.value.mean().item() + vae.record.metrics["nll/test"]) < 4 * error


def test_the_standard_error_of_a_log_likelihood_is_its_scatter_over_seeds(vae: StoredRun) -> None:
    found = [vae.log_likelihood(GREY, samples=100, seed=seed) for seed in range(40)]
    scatter = torch.stack([each.value for each in found]).var(0).mean().sqrt()
    stated = torch.stack([each.standard_error for each in found]).square().mean().sqrt()
    assert 0.85 < scatter / stated < 1.18
    assert torch.equal(vae.log_likelihood(GREY, samples=100).value, found[0].value)


def test_one_draw_has_no_standard_error(vae: StoredRun) -> None:
    found = vae.log_likelihood(GREY, samples=1)
    assert found.value.isfinite().all()
    assert found.standard_error.isnan().all()


def test_latents_are_those_of_a_split_that_there_is(vae: StoredRun) -> None:
    with pytest.raises(ValueError, match="split=foo: choose one of train, validation, test"):
        vae.latents("foo")  # type: ignore[arg-type]


def test_heavy_tails_tell_where_a_log_likelihood_scatters_more_than_its_standard_error(tmp_path: Path) -> None:
    run = latentbench.load(run_tiny(tmp_path, *METRICS, "likelihood=continuous_bernoulli"))
    found = [run.log_likelihood(GREY, samples=100, seed=seed) for seed in range(40)]
    scatter = torch.stack([each.value for each in found]).var(0)
    stated = torch.stack([each.standard_error for each in found]).square().mean(0)
    is_heavy = torch.stack([each.pareto_shape for each in found]).mean(0) > 0.5
    assert 5 < is_heavy.sum() < 35
    assert 0.85 < (scatter[~is_heavy].mean() / stated[~is_heavy].mean()).sqrt() < 1.18
    assert (scatter[is_heavy].mean() / stated[is_heavy].mean()).sqrt() > 1.18


def test_a_run_of_binary_pixels_wants_pixels_of_0_or_1(tmp_path: Path) -> None:
    run = latentbench.load(run_tiny(tmp_path, *METRICS, "data.binarize=threshold", "likelihood=bernoulli"))
    assert run.log_likelihood(run.data.images("test")[:3], samples=5).value.isfinite().all()
    with pytest.raises(ValueError, match="binary pixels: give images whose pixels are 0 or 1"):
        run.log_likelihood(GREY)


# Images and latents as users have them


def test_a_run_takes_pictures_and_arrays(vae: StoredRun) -> None:
    pictures = [Image.fromarray(image[0].numpy()) for image in GREY]
    assert torch.equal(vae.encode(pictures), vae.latents("test"))
    assert torch.equal(vae.encode(GREY.numpy()), vae.latents("test"))
    torch.testing.assert_close(vae.encode(pictures[0]), vae.latents("test")[:1])


def test_images_that_a_run_cannot_use_are_one_clear_line(vae: StoredRun) -> None:
    for method in (vae.encode, vae.reconstruct, vae.log_likelihood):
        with pytest.raises(ValueError, match=r"^this run needs images of 1x8x8 \(C, H, W\), one or several, not "):
            method(GREY[..., :7])


@pytest.mark.parametrize("latents", [torch.zeros(2), torch.zeros(4, 3), np.zeros((1, 2, 2))])
def test_latents_of_another_shape_are_one_clear_line(latents: Any, vae: StoredRun) -> None:
    with pytest.raises(ValueError, match=r"latents must have the shape \(N, 2\), not \("):
        vae.decode(latents)


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_numbers_of_draws_are_whole_numbers(n: Any, vae: StoredRun) -> None:
    with pytest.raises(UserError, match="give a whole number, 1 or more"):
        vae.sample(n)
    with pytest.raises(UserError, match="give a whole number, 1 or more"):
        vae.log_likelihood(GREY, samples=n)


# What a run cannot do


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.encode(GREY),
        lambda run: run.reconstruct(GREY),
        lambda run: run.interpolate(GREY[0], GREY[1]),
        lambda run: run.log_likelihood(GREY),
        lambda run: run.latents("test"),
        lambda run: run.sample(3, sampler="gmm"),
    ],
)
def test_a_gan_says_what_it_cannot_do(call: Callable[[StoredRun], Any], gan: StoredRun) -> None:
    with pytest.raises(UserError, match=rf"^{gan.folder.name}: a GAN "):
        call(gan)
    assert gan.decode(torch.zeros(3, 2)).shape == (3, 1, 8, 8)


def test_an_unknown_sampler_is_one_line_with_the_choices(vae: StoredRun) -> None:
    with pytest.raises(UserError, match=r"sampler=nonsense: there is no such option; choose one of box, flow"):
        vae.sample(3, sampler="nonsense")


# Folders that hold no run, or a damaged one


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A damage: the content of a YAML or JSON file of the run is changed."""

    def damage(folder: Path) -> None:
        path = folder / name
        if path.suffix == ".json":
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        else:
            path.write_text(OmegaConf.to_yaml(change(OmegaConf.load(path))))

    return damage


def set_key(key: str, value: Any) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        OmegaConf.update(config, key, value, force_add=True)
        return config

    return change


def cut(name: str) -> Callable[[Path], None]:
    """A damage: the last half of a file is missing."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    return lambda folder: save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "is not the folder of a trained run: it has no config.yaml"),
    "no config": (lambda f: (f / "config.yaml").unlink(), "is not the folder of a trained run: it has no config.yaml"),
    "no record": (lambda f: (f / "record.json").unlink(), "record.json cannot be read"),
    "half a record": (cut("record.json"), "record.json is not valid JSON"),
    "an old record": (edited("record.json", lambda r: r | {"schema": 2}), "has record schema 2"),
    "a failed run": (edited("record.json", lambda r: r | {"status": "failed", "reason": "bad luck"}), "bad luck"),
    "half a config": (cut("config.yaml"), "config.yaml"),
    "a config without facts": (edited("config.yaml", set_key("resolved.shape", None)), "it has no resolved.shape"),
    "an empty config": (lambda f: (f / "config.yaml").write_text(""), "is not the config of a run of this version"),
    "a list": (lambda f: (f / "config.yaml").write_text("- a"), "is not the config of a run of this version"),
    "no text": (lambda f: (f / "config.yaml").write_bytes(b"\xff\x00"), "config.yaml cannot be read"),
    "a class of old": (edited("config.yaml", set_key("prior._target_", "latentbench.A")), "latentbench has no A"),
    "a key of old": (edited("config.yaml", set_key("likelihood.sharpness", 1)), "Likelihood cannot be built"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "half the weights": (cut("model.safetensors"), "model.safetensors cannot be read"),
    "weights of another size": (edited("config.yaml", set_key("backbone.hidden", [9])), "weights of another shape"),
    "weights of more layers": (edited("config.yaml", set_key("backbone.hidden", [8, 8])), "weights of another"),
    "a weight too few": (weights(lambda w: dict(list(w.items())[1:])), "weights of another model"),
    "a weight too many": (weights(lambda w: w | {"more": torch.zeros(1)}), "weights of another model"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_one_clear_line(damage: str, copied: Path) -> None:
    make, message = DAMAGES[damage]
    make(copied)
    with pytest.raises(UserError) as caught:
        latentbench.load(copied).encode(GREY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_trained_in_double_precision_is_opened_in_single_precision(tmp_path: Path) -> None:
    folder = run_tiny(tmp_path, *METRICS, "trainer.precision=64-true")
    run = latentbench.load(str(folder))
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
    assert run.encode(GREY.double() / 255).dtype == run.decode(np.zeros((1, 2))).dtype == torch.float32
    np.testing.assert_array_equal(to_uint8(run.sample(40)), load_images(folder / "images.npz")["prior"])


# Studies


def test_a_study_has_its_runs_and_their_table(vae_folder: Path, gan: StoredRun, tmp_path: Path) -> None:
    for folder in (vae_folder, gan.folder):
        shutil.copytree(folder, tmp_path / folder.name)
    study = latentbench.load_study(tmp_path)
    assert [run.folder.name for run in study.runs] == sorted([vae_folder.name, gan.folder.name])
    assert len(study.runs[1].sample(2)) == 2
    table = study.frame()
    assert sorted(table["method"]) == ["gan", "vae"]
    recorded = {load(run.folder / "record.json").metrics.get("nll/test") for run in study.runs}
    assert set(table["nll/test"].dropna()) == recorded - {None}


def test_a_run_that_cannot_be_opened_is_left_out_of_its_study(vae_folder: Path, gan: StoredRun, tmp_path: Path) -> None:
    for folder in (vae_folder, gan.folder):
        shutil.copytree(folder, tmp_path / folder.name)
    (tmp_path / vae_folder.name / "config.yaml").write_text("{")
    study = latentbench.load_study(tmp_path)
    assert [run.folder.name for run in study.runs] == [run.folder.name for run in study.runs] == [gan.folder.name]
    (message,) = study.unusable
    assert "config.yaml cannot be read" in message


def test_a_folder_without_records_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no records: name the folder of a study"):
        latentbench.load_study(tmp_path)


def test_a_published_study_has_records_but_no_runs() -> None:
    published = Path(__file__).parents[2] / "results" / "quick"
    if not (published / "digits").is_dir():
        pytest.skip("this test needs a checkout")
    study = latentbench.load_study(published)
    assert study.runs == []
    assert len(study.frame()) == len(study.records) == 90

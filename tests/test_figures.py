"""The figures show what the records and the kept images say."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentbench.figures import Figure, Images, Panel, Point, SampleRow, fid_against_sharpness, samples, save
from latentbench.record import Record
from latentbench.tables import make_figures, summarize
from test_tables import a_record

SHARP = {"fid/prior": 9.0, "sharpness_ratio/prior": 0.5, "fid/real": 1.0}


def noise(seed: int, channels: int = 1) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (64, channels, 8, 8), dtype=np.uint8)


def keep(folder: Path, record: Record, **images: Images) -> Record:
    record.save(folder / record.run_id)
    if images:
        np.savez_compressed(folder / record.run_id / "images.npz", **images)
    return record


def pixels(figure: Figure) -> np.ndarray:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return np.asarray(Image.open(content).convert("RGB"))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def test_samples_shows_the_images_it_is_given() -> None:
    image = noise(0)
    figure = samples([SampleRow("vae", {"prior": image})], {"prior": "samples"}, per_block=3)
    assert texts(figure) == ["samples", "vae"]
    (strip,) = shown(figure)
    for index in range(3):
        np.testing.assert_array_equal(strip[:, 9 * index : 9 * index + 8], image[index, 0])
    assert figure.axes[0].images[0].get_interpolation() == "nearest"
    assert pixels(figure).std() > 20


def test_colour_images_stay_in_colour() -> None:
    red = np.zeros((64, 3, 8, 8), dtype=np.uint8)
    red[:, 0] = 255
    drawn = pixels(samples([SampleRow("vae", {"prior": red})], {"prior": "samples"}))
    assert (drawn == (255, 0, 0)).all(axis=-1).mean() > 0.1


def test_the_grid_has_real_images_above_the_lowest_seed_of_every_row(tmp_path: Path) -> None:
    real, original = noise(1), noise(2)
    same = {"real": real, "original": original}
    records = [
        keep(tmp_path, a_record("vae", 1), **same, prior=noise(3)),
        keep(tmp_path, a_record("vae", 0), **same, prior=noise(4), gmm=noise(5), reconstruction=noise(6)),
        keep(tmp_path, a_record("gan", 0), real=real, prior=noise(7)),
    ]
    figure = make_figures(summarize(records, rows=["method"]), tmp_path)[0]["samples"]
    assert [text for text in texts(figure) if "sample" not in text and "recon" not in text] == [
        "real images", "gan", "vae",
    ]  # fmt: skip
    firsts = [strip[:, :8] for strip in shown(figure)]
    expected = [real, noise(7), noise(4), real, noise(5), original, noise(6)]  # block by block
    assert len(firsts) == len(expected)
    for first, images in zip(firsts, expected, strict=True):
        np.testing.assert_array_equal(first, images[0, 0])


def test_reconstructions_of_other_images_are_not_shown(tmp_path: Path) -> None:
    records = [
        keep(tmp_path, a_record(m), real=noise(1), original=noise(i), reconstruction=noise(9), prior=noise(8))
        for i, m in enumerate(("ae", "vae"))
    ]
    figures, notes = make_figures(summarize(records, rows=["method"]), tmp_path)
    assert any("vae reconstructed other images" in note for note in notes)
    assert len(figures["samples"].axes) == 3 + 2  # prior of all, reconstructions of ae and what it saw


def test_what_cannot_be_drawn_is_noted(tmp_path: Path) -> None:
    record = keep(tmp_path, a_record())
    (tmp_path / record.run_id / "images.npz").write_bytes(b"PK\x03\x04 cut")
    figures, notes = make_figures(summarize([record], rows=["method"]), tmp_path)
    assert figures == {}
    assert [note.split(":")[0] for note in notes] == ["figure samples", "no figure fid_against_sharpness"]


def test_points_are_means_with_intervals_on_a_panel_per_data_set(tmp_path: Path) -> None:
    records = [
        a_record(data=data, seed=seed, metrics=SHARP | {"fid/prior": 8.0 + 2 * seed})
        for data in ("digits", "mnist")
        for seed in range(2)
    ]
    figures, _ = make_figures(summarize(records, rows=["method"], columns=["fid/real"]), tmp_path)
    axes = figures["fid_against_sharpness"].axes
    assert [a.get_title() for a in axes] == ["digits", "mnist"]
    (bars,) = axes[0].containers
    line, _, (_, upright) = bars.lines
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (0.5, 9.0)
    # two values d apart: t(0.975, 1) * d / 2
    assert upright.get_segments()[0][:, 1] == pytest.approx([9 - 12.7062, 9 + 12.7062], abs=1e-3)
    heights = {tuple(line.get_ydata()) for line in axes[0].lines}
    assert (1.0, 1.0) in heights  # the floor


@pytest.mark.parametrize(("fids", "scale"), [((2.0, 10.0), "linear"), ((2.0, 100.0), "log"), ((0.0, 9.0), "linear")])
def test_fids_far_apart_get_a_log_axis(fids: tuple[float, float], scale: str) -> None:
    points = [Point(str(fid), 1.0, np.nan, fid, np.nan) for fid in fids]
    figure = fid_against_sharpness([Panel(title="", points=points, floor=None)])
    assert figure.axes[0].get_yscale() == scale
    low, high = figure.axes[0].get_ylim()
    assert low <= fids[0]
    assert fids[1] < high


def test_every_row_has_its_own_mark() -> None:
    points = [Point(f"method{i}", 0.1 * i, np.nan, 10.0 + i, 1.0) for i in range(20)]
    figure = fid_against_sharpness([Panel(title="", points=points, floor=1.0)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [point.label for point in points]
    assert len({(mark.get_marker(), mark.get_color()) for mark in legend.get_lines()}) == 20


def test_figures_are_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    panel = Panel(title="", points=[Point("vae", 0.5, 0.1, 9.0, 1.0)], floor=1.0)
    paths = save(fid_against_sharpness([panel]), tmp_path / "plot.v1")
    assert [path.name for path in paths] == ["plot.v1.png", "plot.v1.pdf"]
    before = [path.read_bytes() for path in paths]
    assert before[1].startswith(b"%PDF")
    assert b"CreationDate" not in before[1]
    assert np.asarray(Image.open(paths[0]).convert("L")).std() > 5
    save(fid_against_sharpness([panel]), tmp_path / "plot.v1")
    assert [path.read_bytes() for path in paths] == before
    assert len(list(tmp_path.iterdir())) == 2

"""The figures show what the records and the saved images hold."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from example_records import a_record, keep, noise
from latentbench.reporting.families import (
    DETERMINISTIC,
    DISCRETE,
    NO_ENCODER,
    NORMAL,
    OTHER_PENALTY,
    OTHER_PRIOR,
    family_of,
)
from latentbench.reporting.image_grids import enlarge, pictures, to_png
from latentbench.reporting.label_placement import place_labels
from latentbench.reporting.plots import Figure, SampleRow, sample_grid, save
from latentbench.reporting.point_plots import Axis, Line, Panel, Point, plot
from latentbench.reporting.summary import Summary
from latentbench.reporting.tables import make_figures, summarize

SHARP = {"fid/prior": 9.0, "sharpness_ratio/prior": 0.5, "fid/real": 1.0}
BLOCKS = ("prior", "gmm", "reconstruction")
X, Y = Axis("x"), Axis("y")


def drawn(summary: Summary, folder: Path, **axes: str) -> tuple[dict[str, Figure], list[str]]:
    """The figures of a study, one of the given axes among them."""
    return make_figures(summary, folder, samples=BLOCKS, axes={"plot": axes} if axes else {})


def a_panel(*points: Point, floor: float | None = None) -> Panel:
    """A panel with a line for every point."""
    return Panel(title="", lines=[Line(f"method{i}", [point], NORMAL) for i, point in enumerate(points)], y_floor=floor)


def pixels(figure: Figure) -> np.ndarray:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return np.asarray(Image.open(content).convert("RGB"))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def names(figure: Figure) -> list[str]:
    """The names beside the points."""
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_gid()]


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def test_samples_shows_the_images_it_is_given() -> None:
    image = noise(0)
    figure = sample_grid([SampleRow("vae", {"prior": image})], {"prior": "samples"}, per_block=3)
    assert texts(figure) == ["samples", "vae"]
    (strip,) = shown(figure)
    for index in range(3):
        np.testing.assert_array_equal(strip[:, 9 * index : 9 * index + 8], image[index, 0])
    assert figure.axes[0].images[0].get_interpolation() == "nearest"
    assert pixels(figure).std() > 20


def test_colour_images_stay_in_colour() -> None:
    red = np.zeros((64, 3, 8, 8), dtype=np.uint8)
    red[:, 0] = 255
    drawn = pixels(sample_grid([SampleRow("vae", {"prior": red})], {"prior": "samples"}, per_block=8))
    assert (drawn == (255, 0, 0)).all(axis=-1).mean() > 0.1


def test_the_grid_has_real_images_above_the_lowest_seed_of_every_row(tmp_path: Path) -> None:
    real, original = noise(1), noise(2)
    same = {"real": real, "original": original}
    records = [
        keep(tmp_path, a_record("vae", 1), **same, prior=noise(3)),
        keep(tmp_path, a_record("vae", 0), **same, prior=noise(4), gmm=noise(5), reconstruction=noise(6)),
        keep(tmp_path, a_record("gan", 0), real=real, prior=noise(7)),
    ]
    figure = drawn(summarize(records, rows=["method"]), tmp_path)[0]["samples"]
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
    figures, notes = drawn(summarize(records, rows=["method"]), tmp_path)
    assert any("reconstructions of vae are not shown" in note for note in notes)
    assert len(figures["samples"].axes) == 3 + 2  # prior of all, reconstructions of ae and what it saw


def test_a_restored_run_shows_its_reconstructions_beside_a_new_one_that_has_more(tmp_path: Path) -> None:
    records = [
        keep(tmp_path, a_record(m), real=noise(1), original=noise(2)[:n], reconstruction=noise(9)[:n], prior=noise(8))
        for m, n in (("ae", 16), ("vae", 64))
    ]
    figures, notes = drawn(summarize(records, rows=["method"]), tmp_path)
    assert not any("not shown" in note for note in notes)
    assert len(figures["samples"].axes) == 3 + 3


def test_many_blocks_have_fewer_images_each(tmp_path: Path) -> None:
    blocks = [f"sampler{i}" for i in range(6)]
    record = keep(tmp_path, a_record(), real=noise(0), **{block: noise(1) for block in blocks})
    summary = summarize([record], rows=["method"])
    for chosen, each in ((blocks[:4], 8), (blocks, 4)):
        figures, _ = make_figures(summary, tmp_path, samples=chosen, axes={})
        assert len(figures["samples"].axes) == 2 * len(chosen)
        assert {strip.shape[1] for strip in shown(figures["samples"])} == {9 * each}


def test_samples_that_no_run_can_have_are_noted(tmp_path: Path) -> None:
    record = keep(tmp_path, a_record(), real=noise(0), prior=noise(1))
    _, notes = make_figures(
        summarize([record], rows=["method"]), tmp_path, samples=["prior", "gmm", "reconstruction", "foo"], axes={}
    )
    (note,) = notes
    assert note.startswith("figure samples: no foo (table.samples); choose from box, flow, ")


def test_what_cannot_be_drawn_is_noted(tmp_path: Path) -> None:
    record = keep(tmp_path, a_record())
    (tmp_path / record.run_id / "images.npz").write_bytes(b"PK\x03\x04 cut")
    summary = summarize([record], rows=["method"])
    figures, notes = drawn(summary, tmp_path, x="sharpness_ratio/prior", y="fid/prior")
    assert figures == {}
    assert notes == [
        f"figure samples: no images of {record.run_id}",
        "no figure plot: no row has both sharpness_ratio/prior and fid/prior",
    ]


def test_points_are_means_with_intervals_on_a_panel_per_data_set(tmp_path: Path) -> None:
    records = [
        a_record(data=data, seed=seed, metrics=SHARP | {"fid/prior": 8.0 + 2 * seed})
        for data in ("digits", "mnist")
        for seed in range(2)
    ]
    summary = summarize(records, rows=["method"], columns=["fid/real"])
    figures, _ = drawn(summary, tmp_path, x="sharpness_ratio/prior", y="fid/prior")
    axes = figures["plot"].axes
    assert [a.get_title() for a in axes] == ["digits", "mnist"]
    (bars,) = axes[0].containers
    _, _, (_, upright) = bars.lines
    assert (0.5, 9.0) in {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes[0].lines}
    # two values d apart: t(0.975, 1) * d / 2
    assert upright.get_segments()[0][:, 1] == pytest.approx([9 - 12.7062, 9 + 12.7062], abs=1e-3)
    heights = {tuple(line.get_ydata()) for line in axes[0].lines}
    assert (1.0, 1.0) in heights  # the floor


def test_a_figure_against_a_setting_has_a_line_with_a_band_per_method(tmp_path: Path) -> None:
    records = [
        a_record(method, seed, {"fid/prior": fid * beta + seed}, beta=beta)
        for method, fid in (("vae", 1.0), ("dip_vae_i", 3.0))
        for beta in (10.0, 0.1, 1.0)
        for seed in range(2)
    ]
    figures, _ = drawn(summarize(records, rows=["method", "beta"]), tmp_path, x="beta", y="fid/prior")
    (axes,) = figures["plot"].axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in lines] == [[0.1, 1.0, 10.0]] * 2
    assert list(lines[0].get_ydata()) == pytest.approx([0.8, 3.5, 30.5])
    assert names(figures["plot"]) == ["dip_vae_i", "vae"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "1", "10"]
    band = axes.collections[0].get_paths()[0].vertices
    half = 12.7062 / 2  # two values 1 apart
    assert axes.get_yscale() == "log"
    assert band[:, 1].max() == pytest.approx(30.5 + half, abs=1e-3)
    assert band[:, 1].min() == axes.get_ylim()[0], "below 0 there is no place"
    shares = [dataclasses.replace(r, metrics={"recall/prior": 1e-3 * r.metrics["fid/prior"]}) for r in records]
    facts = {"metrics": {"recall": {"units": "of real", "higher_is_better": True}}}
    shares = [dataclasses.replace(record, config=record.config | {"resolved": facts}) for record in shares]
    figures, _ = drawn(summarize(shares, rows=["method", "beta"]), tmp_path, x="beta", y="recall/prior")
    (axes,) = figures["plot"].axes
    assert axes.get_yscale() == "linear"
    band = axes.collections[0].get_paths()[0].vertices
    ends = (1e-3 * (0.8 - half), 1e-3 * (30.5 + half))
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx(ends, abs=1e-6)


def test_what_differs_between_data_sets_alone_joins_nothing(tmp_path: Path) -> None:
    records = [
        a_record(method, metrics={"rate/test": 1.0, "psnr/test": 2.0}, data=data, config={"data": {"batch_size": size}})
        for data, size in (("digits", 32), ("mnist", 128))
        for method in ("ae", "vae")
    ]
    figures, _ = drawn(summarize(records, rows=["method"]), tmp_path, x="rate/test", y="psnr/test")
    assert figures["plot"].legends[0].get_title().get_text() == "one seed, and no interval"


def test_a_figure_of_metrics_joins_rows_that_differ_in_a_number(tmp_path: Path) -> None:
    records = [
        a_record(method, metrics={"rate/test": 1 / beta, "psnr/test": beta}, beta=beta)
        for method in ("vae", "dip_vae_i")
        for beta in (1.0, 4.0)
    ]
    figures, _ = drawn(summarize(records, rows=["method", "beta"]), tmp_path, x="rate/test", y="psnr/test")
    figure = figures["plot"]
    assert figure.legends[0].get_title().get_text() == "one seed, and no interval; joined along beta"
    assert figure.axes[0].get_xlabel() == "rate/test (nats)"
    assert figure.axes[0].get_ylabel() == "psnr/test ↑ (dB)"
    assert [list(line.get_xdata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 2] == [[1.0, 0.25]] * 2
    assert names(figure) == ["dip_vae_i, 4", "1", "vae, 4", "1"]
    figures, _ = drawn(
        summarize(records[:1] + records[3:], rows=["method", "beta"]), tmp_path, x="rate/test", y="psnr/test"
    )
    assert figures["plot"].legends[0].get_title().get_text() == "one seed, and no interval", "nothing to join"


def test_a_setting_that_is_no_number_or_differs_nowhere_is_no_axis(tmp_path: Path) -> None:
    summary = summarize([a_record("ae"), a_record("vae")], rows=["method"])
    for x in ("method", "latent_size", "colour"):
        assert (
            drawn(summary, tmp_path, x=x, y="fid/prior")[1][-1] == f"no figure plot: no row has both {x} and fid/prior"
        )


def test_rows_without_a_number_of_a_setting_are_named_and_others_joined(tmp_path: Path) -> None:
    records = [a_record("vae", beta=beta, metrics=SHARP) for beta in (1.0, 10.0)]
    for method, beta in (("rae", "2 * pixels"), ("gan", None)):
        record = a_record(method, metrics=SHARP)
        records.append(dataclasses.replace(record, choices={**record.choices, "beta": beta}))
    figures, notes = drawn(summarize(records, rows=["method", "beta"]), tmp_path, x="beta", y="fid/prior")
    assert names(figures["plot"]) == ["vae, gaussian"], "one line of two points"
    (note,) = [note for note in notes if "plot" in note]
    assert note.startswith("figure plot: without ")
    assert "rae" in note
    assert "gan" in note
    assert "vae, gaussian" not in note


@pytest.mark.parametrize(
    ("seeds", "told"), [((2, 2), "mean, 95 % interval"), ((2, 1), "mean, 95 % interval; no interval: one seed")]
)
def test_a_figure_says_which_points_have_an_interval(seeds: tuple[int, int], told: str, tmp_path: Path) -> None:
    records = [a_record(method, s, SHARP) for method, n in zip(("vae", "ae"), seeds, strict=True) for s in range(n)]
    figures, _ = drawn(summarize(records, rows=["method"]), tmp_path, x="sharpness_ratio/prior", y="fid/prior")
    assert figures["plot"].legends[0].get_title().get_text() == told


def test_a_number_with_a_caveat_is_a_hollow_point(tmp_path: Path) -> None:
    records = [a_record("vae", metrics=SHARP), a_record("ae", metrics=SHARP, caveats={"fid/prior": "shows nothing"})]
    figures, _ = drawn(summarize(records, rows=["method"]), tmp_path, x="sharpness_ratio/prior", y="fid/prior")
    (axes,) = figures["plot"].axes
    hollow = {line.get_gid(): line.get_markerfacecolor() == "none" for line in axes.lines if line.get_gid()}
    assert {gid: is_hollow for gid, is_hollow in hollow.items() if gid.startswith("point")} == {
        "point-1": True, "point-2": False
    }  # fmt: skip
    assert "hollow: see the caveats" in figures["plot"].legends[0].get_title().get_text()


def test_a_name_is_shown_as_it_is_even_if_it_looks_like_a_formula() -> None:
    figure = plot([Panel(title="$a$", lines=[Line(r"a$\frac$b", [Point(1.0, 0.1, 2.0, 0.1)], NORMAL)])], x=X, y=Y)
    assert names(figure) == [r"a$\frac$b"]
    save_to = io.BytesIO()
    figure.savefig(save_to, format="png")
    samples = sample_grid([SampleRow(r"$\frac$", {"prior": noise(0)})], {"prior": "samples"}, per_block=3)
    samples.savefig(save_to, format="png")


@pytest.mark.parametrize(("fids", "scale"), [((2.0, 10.0), "linear"), ((2.0, 100.0), "log"), ((0.0, 9.0), "linear")])
def test_values_far_apart_get_a_log_axis(fids: tuple[float, float], scale: str) -> None:
    panel = a_panel(*(Point(1.0, np.nan, fid, np.nan) for fid in fids))
    (axes,) = plot([panel], x=X, y=Y).axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low <= fids[0]
    assert fids[1] < high
    assert plot([panel], x=X, y=Axis("y", may_be_log=False)).axes[0].get_yscale() == "linear"


def test_an_interval_far_wider_than_the_means_does_not_set_the_axis() -> None:
    (axes,) = plot([a_panel(Point(1.0, np.nan, 5.0, 1000.0), Point(1.0, np.nan, 6.0, 0.1))], x=X, y=Y).axes
    assert axes.get_ylim()[1] < 20


def test_names_hide_neither_one_another_nor_a_point() -> None:
    random = np.random.default_rng(0)
    points = random.normal((200, 150), 40, (40, 2))
    sizes = np.stack([random.uniform(20, 60, 40), np.full(40, 9.0)], axis=1)
    within = np.array([0.0, 0.0, 400.0, 300.0])
    boxes = np.array(place_labels(points, sizes, points, within))
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], sizes)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= within[2:]).all()
    others = np.concatenate([boxes, np.concatenate([points, points], axis=1)])
    apart = (boxes[:, None, :2] >= others[:, 2:]) | (others[:, :2] >= boxes[:, None, 2:])
    assert (apart.any(2).sum(1) == len(others) - 1).all(), "all but the label itself"
    np.testing.assert_array_equal(boxes, place_labels(points, sizes, points, within))


def test_a_name_without_room_is_left_out() -> None:
    point = np.array([[5.0, 5.0]])
    assert place_labels(point, np.array([[20.0, 9.0]]), point, np.array([0.0, 0.0, 10.0, 10.0])) == [None]


def test_many_rows_have_a_colour_by_family_and_a_name_each() -> None:
    families = (NORMAL, DETERMINISTIC)
    lines = [Line(f"method{i}", [Point(0.1 * i, 0.1, 10.0 + i, 1.0, i)], families[i % 2]) for i in range(20)]
    figure = plot([Panel(title="", lines=lines, y_floor=1.0)], x=X, y=Y)
    assert names(figure) == [f"method{i}" for i in range(20)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(families)
    assert len({mark.get_color() for mark in legend.get_lines()}) == 2


@pytest.mark.parametrize("n", [3, 20, 150])
def test_figures_are_as_wide_as_columns_of_a_paper_with_letters_of_seven_points_or_more(n: int, tmp_path: Path) -> None:
    figure = plot([a_panel(*(Point(0.1 * i, np.nan, 10.0 + i, 1.0) for i in range(n)), floor=1.0)], x=X, y=Y)
    with Image.open(save(figure, tmp_path / "plot")[0]) as image:
        width = image.size[0]
    assert 0.95 < width / 300 * 2.54 / (8.5 if n == 3 else 17.0) <= 1
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7


PARTS = [
    ("gaussian.GaussianPosterior", "normal.NormalPrior", "kullback_leibler.KullbackLeibler", NORMAL),
    ("flow.FlowPosterior", "own.OwnPrior", "kullback_leibler.KullbackLeibler", OTHER_PRIOR),
    ("gaussian.GaussianPosterior", "normal.NormalPrior", "own.OwnRegularizer", OTHER_PENALTY),
    ("dirac.DiracPosterior", "normal.NormalPrior", "own.OwnRegularizer", DETERMINISTIC),
    ("own.OwnPosterior", "categorical.CategoricalPrior", "none.NoRegularizer", DISCRETE),
    (None, "normal.NormalPrior", None, NO_ENCODER),
]


@pytest.mark.parametrize(("posterior", "prior", "regularizer", "family"), PARTS)
def test_a_family_is_known_by_the_parts(posterior: str, prior: str, regularizer: str, family: str) -> None:
    parts = {"posterior": posterior, "prior": prior, "regularizer": regularizer}
    config = {group: {"_target_": f"package.{name}"} if name else None for group, name in parts.items()}
    assert family_of(a_record(config=config)) == family


def test_figures_are_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    panel = a_panel(Point(0.5, 0.1, 9.0, 1.0), floor=1.0)
    paths = save(plot([panel], x=X, y=Y), tmp_path / "plot.v1")
    assert [path.name for path in paths] == ["plot.v1.png", "plot.v1.pdf"]
    before = [path.read_bytes() for path in paths]
    assert before[1].startswith(b"%PDF")
    assert b"CreationDate" not in before[1]
    assert np.asarray(Image.open(paths[0]).convert("L")).std() > 5
    save(plot([panel], x=X, y=Y), tmp_path / "plot.v1")
    assert [path.read_bytes() for path in paths] == before
    assert len(list(tmp_path.iterdir())) == 2


SHAPES = [(3, 64, 48), (4, 12, 12), (2, 8, 8), (1, 5, 9), (1, 1, 64), (7, 64, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_grids_show_images_of_any_shape_and_say_what_is_not_in_colour(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    images = np.random.default_rng(0).integers(0, 256, (10, *shape), dtype=np.uint8)
    expected = images if channels in (1, 3) else images.mean(1, keepdims=True).round().astype(np.uint8)
    made = pictures({"prior": images}, lines=4)["prior"]
    assert made.caption.endswith(f"; in grey, the mean of {channels} channels") == (channels not in (1, 3))
    np.testing.assert_array_equal(made.pixels[:height, :width, :-1], expected[0].transpose(1, 2, 0))
    assert Image.open(io.BytesIO(to_png(enlarge(made)))).mode == ("RGBA" if channels == 3 else "LA")
    figure = sample_grid([SampleRow("vae", {"prior": images})], {"prior": "samples"}, per_block=8)
    (strip,) = shown(figure)
    np.testing.assert_array_equal(strip[:, :width].reshape(height, width, -1), expected[0].transpose(1, 2, 0))
    assert pixels(figure).std() > 5


def test_lines_of_the_grid_are_as_high_as_their_images_and_those_of_square_images_as_ever() -> None:
    def height(*shape: int) -> float:
        image = np.zeros((8, *shape), dtype=np.uint8)
        row = SampleRow("vae", {"prior": image})
        return sample_grid([row], {"prior": "samples"}, per_block=8).get_size_inches()[1]

    assert height(1, 8, 8) == height(3, 32, 32) == height(4, 64, 64) == 0.25 + 0.27 + 0.04 + 0.05
    assert height(1, 5, 9) < height(1, 8, 8) < height(3, 64, 48) < height(1, 64, 1) < 2


def test_the_figure_says_that_images_are_shown_in_grey(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 8, 8), dtype=np.uint8)
    keep(tmp_path, record := a_record("vae", 0), real=images, prior=images)
    figure = drawn(summarize([record], rows=["method"]), tmp_path)[0]["samples"]
    assert "real images (mean of 4 channels)" in texts(figure)


def test_two_shares_of_the_same_have_a_line_where_they_are_equal_and_end_at_one() -> None:
    x, y = Axis("x", share="of images"), Axis("y", share="of images")
    panel = a_panel(Point(0.5, 0.9, 0.2, 0.1), Point(0.1, 0.01, 0.6, 0.1))
    figure = plot([panel], x=x, y=y)
    (axes,) = figure.axes
    (line,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert (line.get_xy1(), line.get_slope()) == ((0, 0), 1)
    assert axes.get_xlim()[1] < 1.1, "or the interval, which ends at 1.4, has lengthened the axis"
    assert "dotted: both are equal" in figure.legends[0].get_title().get_text()
    assert not any(line.get_linestyle() == ":" for line in plot([panel], x=x, y=Y).axes[0].lines)

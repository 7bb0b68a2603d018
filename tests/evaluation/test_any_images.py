"""Images of any size and number of channels go from training to the table, the page, samples and a shared folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import latentbench
from latentbench.cli import report, sample, share, tables
from latentbench.contracts.images import noise_images
from latentbench.records.record import FILE_NAME, load
from tiny_runs import digits_are, run_tiny

FEW_DRAWS = ("features=random", "metric.nll.samples=5", "metric.parzen.bandwidths.count=2")
CASES = {
    (3, 17, 23): ("backbone=conv", "backbone.hidden=8", "likelihood=logistic_mixture"),
    (4, 1, 5): ("backbone=mlp", "likelihood=gaussian"),
    (2, 9, 4): ("backbone=resnet", "backbone.hidden=8", "method=ae", "likelihood=continuous_bernoulli"),
}


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("shape", CASES)
def test_images_of_any_shape_go_all_the_way(
    shape: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    channels, height, width = shape
    with digits_are(noise_images(shape)):
        folder = run_tiny(tmp_path / "outputs", *FEW_DRAWS, *CASES[shape])
        drawn = latentbench(str(folder), "n=9", program=sample.main)
    record = load(folder / FILE_NAME)
    assert record.status == "finished"
    assert {"fid/prior@random", "ssim/test", "high_frequency_energy_ratio/prior"} <= record.metrics.keys()
    assert ("sharpness_ratio/prior" in record.metrics) == (min(height, width) >= 3)
    assert drawn.code == 0, drawn.err
    samples = picture(tmp_path / "samples.png")
    assert samples.shape[2] == (4 if channels == 3 else 2)
    assert samples.shape[1] * (2 * (height + 1) - 1) == samples.shape[0] * (8 * (width + 1) - 1), (
        "no pixel is stretched"
    )
    for program in (tables, report):
        told = latentbench(program=program.main)
        assert told.code == 0, told.err
    page = (tmp_path / "outputs" / "adhoc" / "report.html").read_text()
    assert page.count("data:image/png") >= 8
    assert (f"mean of {channels} channels" in page) == (channels != 3)
    sent = latentbench(str(folder), "repo=me/any", "--dry-run", program=share.main)
    assert sent.code == 0, sent.err
    card = (tmp_path / "any" / "README.md").read_text()
    assert f"channels x height x width {channels} x {height} x {width}" in card
    assert picture(tmp_path / "any" / "pictures" / "prior.png").shape[2] == samples.shape[2]

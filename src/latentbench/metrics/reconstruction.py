"""Reconstruction errors."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import ModelMetric
from latentbench.metrics.inputs import MetricInputs
from latentbench.metrics.measurements import Estimate, Quantity, mean_of
from latentbench.metrics.structural_similarity import structural_similarity
from latentbench.models.base import GenerativeModel


def mean_squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean over pixels of (x - x')^2. Shape: (N, C, H, W) twice -> (N,). Units: squared pixel range."""
    return (x - reconstruction).square().flatten(1).mean(1)


def peak_signal_to_noise_ratio(mse: Tensor) -> Tensor:
    """-10 log10(mse) for pixels in [0, 1]; infinite for a perfect copy. Units: dB."""
    return -10 * mse.log10()


class Reconstruction(ModelMetric):
    """`mse/test`, `psnr/test` and `ssim/test` of images decoded from the posterior mean; means over images.

    Reconstructions are compared with the images as the model sees them: with binarized data, all three count the
    binarization noise as error.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "mse": Quantity("squared pixel range", higher_is_better=False),
        "psnr": Quantity("dB", higher_is_better=True),
        "ssim": Quantity("", higher_is_better=True),
    }
    mse: list[Tensor]
    psnr: list[Tensor]
    ssim: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_lists("mse", "psnr", "ssim")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder."""
        return inputs.model.cannot("encode", binary=inputs.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        reconstructions = model.reconstruct(images)
        mse = mean_squared_error(images, reconstructions).double()
        self.mse.append(mse)
        self.psnr.append(peak_signal_to_noise_ratio(mse))
        self.ssim.append(structural_similarity(images, reconstructions))

    def compute(self) -> dict[str, Estimate]:
        return {"mse": mean_of(self.mse), "psnr": mean_of(self.psnr), "ssim": mean_of(self.ssim)}

"""Error of reconstructions."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from latentbench.metrics.base import Estimate, MetricInputs, ModelMetric, Quantity, mean_of
from latentbench.metrics.structural_similarity import structural_similarity
from latentbench.models.base import GenerativeModel


def mean_squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean over pixels of (x - x')^2: (N, C, H, W) twice -> (N,). Units: squared pixel range."""
    return (x - reconstruction).square().flatten(1).mean(1)


def peak_signal_to_noise_ratio(mse: Tensor) -> Tensor:
    """-10 log10(mse) for pixels in [0, 1], dB. Infinite for a perfect copy."""
    return -10 * mse.log10()


class Reconstruction(ModelMetric):
    """`mse/test`, `psnr/test` and `ssim/test` of the image decoded from the posterior's mean; means over images.

    Against the images as the model was shown them: with binarized data all three count the pixels' noise as error.
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
        self.keep("mse", "psnr", "ssim")

    def refuses(self, inputs: MetricInputs) -> str | None:
        """Needs an encoder."""
        return inputs.model.cannot("encode", binary=inputs.data.is_binary)

    def update(self, model: GenerativeModel, images: Tensor) -> None:
        """Add a batch (B, C, H, W)."""
        made = model.reconstruct(images)
        mse = mean_squared_error(images, made).double()
        self.mse.append(mse)
        self.psnr.append(peak_signal_to_noise_ratio(mse))
        self.ssim.append(structural_similarity(images, made))

    def compute(self) -> dict[str, Estimate]:
        """Means over images."""
        return {"mse": mean_of(self.mse), "psnr": mean_of(self.psnr), "ssim": mean_of(self.ssim)}

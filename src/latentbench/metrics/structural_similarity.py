"""Structural similarity of two images (SSIM)."""

import torch
from torch import Tensor
from torch.nn.functional import pad

SIGMA = 1.5  # pixels
TAPS = 11  # height and width of the window, or the largest odd numbers that fit into the image
C1, C2 = 0.01**2, 0.03**2  # avoid 0/0, for pixels in [0, 1]


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """SSIM, averaged over windows and channels; 1 for a perfect copy.

    (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2))
    with means, variances and covariance under a Gaussian window with a standard deviation of 1.5 pixels. The window has
    11 x 11 pixels (7 x 7 in images of 8 x 8, 5 x 11 in images of 5 x 64), at every position at which it lies inside the
    image. Each channel is compared by itself.
    Shape: (N, C, H, W) twice, pixels in [0, 1] -> (N,). Source: Wang et al. 2004, equation 13 and section III.C.
    """
    # In float64: variances are small differences between windowed means.
    a, b = x.double().flatten(0, 1), y.double().flatten(0, 1)
    down, across = (_window_means(size).to(a) for size in x.shape[2:])
    mean_x, mean_y, square_x, square_y, product = (down @ of @ across.T for of in (a, b, a * a, b * b, a * b))
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    covariance = product - mean_x * mean_y
    variances = square_x - mean_x**2 + square_y - mean_y**2
    structure = (2 * covariance + C2) / (variances + C2)
    return (luminance * structure).reshape(len(x), -1).mean(1)


def _window_means(size: int) -> Tensor:
    """The matrix (size - taps + 1, size) of the weighted means of a row of pixels, one for each place of the window."""
    taps = min(TAPS, (size - 1) // 2 * 2 + 1)
    window = torch.exp(-0.5 * ((torch.arange(taps, dtype=torch.float64) - taps // 2) / SIGMA).square())
    shifts = [pad(window / window.sum(), (i, size - taps - i)) for i in range(size - taps + 1)]
    return torch.stack(shifts)

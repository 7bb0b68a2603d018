"""The FactorVAE score."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors
from latentbench.metrics.measurements import Quantity

BATCHES_AT_ONCE = 500  # batches whose codes are in memory at once


def factor_vae_score(codes: Tensor, factors: Tensor, *, images: int, votes: int, judged: int) -> Tensor:
    """Accuracy of predicting which factor is fixed in a batch from the coordinate that varies least.

    In each batch a factor k, drawn uniformly, has a fixed value, drawn uniformly; i = argmin_j Var_batch(z_j) /
    Var(z_j). Coordinate i predicts the factor that was fixed most often in `votes` batches. The score is the accuracy
    of this majority vote on `judged` further batches. A batch has `images` images.

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar in [0, 1]. Codes that are independent of the factors
    score about 1/K. Constant coordinates are left out; the score is 0 if all are constant. Factors with a single value
    are left out.
    Uses torch's global random numbers. Raises: ValueError as `canonical_codes_and_factors`.
    Source: Kim & Mnih 2018, section 4; numbers of batches and images as in Locatello et al. 2019.
    Where we differ: the paper renders the images of a batch; here they are drawn with replacement from the given images
    that have the fixed value, so that the other factors vary as they do in the data. Votes are from one half of the
    images and are judged on the other: which coordinate happens to vary little among the few images of a value would
    otherwise count as known.
    """
    codes, factors = canonical_codes_and_factors(codes, factors)
    low, high = codes.aminmax(dim=0)
    codes = codes[:, high > low]
    if not codes.shape[1]:
        return torch.zeros((), dtype=torch.float64)
    codes = codes / codes.std(0)
    vote_counts = torch.zeros(codes.shape[1], factors.shape[1])
    voting, judging = torch.randperm(len(codes)).chunk(2)
    for coordinate, factor in zip(*least_varying(codes[voting], factors[voting], images, votes), strict=True):
        vote_counts[coordinate, factor] += 1
    coordinate, factor = least_varying(codes[judging], factors[judging], images, judged)
    return (vote_counts.argmax(1)[coordinate] == factor).double().mean()


def least_varying(codes: Tensor, factors: Tensor, images: int, batches: int) -> tuple[Tensor, Tensor]:
    """For random batches, the coordinate that varies least and the factor that is fixed, (batches,) each."""
    fixed = torch.randint(factors.shape[1], (batches,)).sort().values
    least = torch.empty_like(fixed)
    for k, factor in enumerate(factors.T):
        count = factor.bincount()
        first = count.cumsum(0) - count
        by_value = factor.argsort(stable=True)  # images of equal value are next to each other
        for chunk in (fixed == k).nonzero()[:, 0].split(BATCHES_AT_ONCE):
            occurring = count.nonzero()[:, 0]
            value = occurring[torch.randint(len(occurring), (len(chunk), 1))]
            positions = (torch.rand(len(chunk), images, dtype=torch.float64) * count[value]).long() + first[value]
            least[chunk] = codes[by_value[positions]].var(1).argmin(1)
    return least, fixed


class FactorVAEScore(FactorMetric):
    """`factor_vae_score/test`: accuracy of predicting which known factor is fixed in a batch of images, from the
    coordinate of their codes that varies least."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"factor_vae_score": Quantity("", higher_is_better=True)}

    def __init__(self, *, images: int, votes: int, judged: int) -> None:
        super().__init__()
        self.images = check_whole_number("metric.factor_vae_score.images", images, minimum=2)
        self.votes = check_whole_number("metric.factor_vae_score.votes", votes, minimum=1)
        self.judged = check_whole_number("metric.factor_vae_score.judged", judged, minimum=1)

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        settings = {"images": self.images, "votes": self.votes, "judged": self.judged}
        return {"factor_vae_score": factor_vae_score(codes, factors, **settings)}

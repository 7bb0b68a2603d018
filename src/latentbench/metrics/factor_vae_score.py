"""The score of FactorVAE's paper."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from latentbench.errors import check_whole_number
from latentbench.metrics.base import Quantity
from latentbench.metrics.known_factors import FactorMetric, prepared

TOGETHER = 500  # batches that are looked at at once


def factor_vae_score(codes: Tensor, factors: Tensor, *, images: int, votes: int, judged: int) -> Tensor:
    """How often the code that varies least in a batch of images with one factor in common tells which factor that is.

    In each batch a factor k, drawn uniformly, has one value, drawn uniformly; i = argmin_j Var_batch(z_j) / Var(z_j).
    The factor that a code i stands for is the most frequent k of `votes` batches; the score is the accuracy of that
    guess on `judged` further batches, each of so many `images`.

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar in [0, 1]. Codes that say nothing have about 1/K.
    A constant dimension is left out, and 0 is the score if all are; a factor with one value is left out.
    Drawn with torch's global random numbers. Raises: ValueError as `prepared`.
    Source: Kim & Mnih 2018, section 4; numbers of batches and images as Locatello et al. 2019 take them. There images
    of a batch are made to order; here they are drawn, with repetition, from the given images that have the value, in
    which the other factors vary as they happen to.
    """
    codes, factors = prepared(codes, factors)
    low, high = codes.aminmax(dim=0)
    codes = codes[:, high > low]
    if not codes.shape[1]:
        return torch.zeros((), dtype=torch.float64)
    codes = codes / codes.std(0)
    table = torch.zeros(codes.shape[1], factors.shape[1])
    for code, factor in zip(*steadiest(codes, factors, images, votes), strict=True):
        table[code, factor] += 1
    code, factor = steadiest(codes, factors, images, judged)
    return (table.argmax(1)[code] == factor).double().mean()


def steadiest(codes: Tensor, factors: Tensor, images: int, batches: int) -> tuple[Tensor, Tensor]:
    """The code that varies least and the factor that has one value, (batches,) each, of batches drawn at random."""
    chosen = torch.randint(factors.shape[1], (batches,)).sort().values
    least = torch.empty_like(chosen)
    for k, factor in enumerate(factors.T):
        count = factor.bincount()
        first = count.cumsum(0) - count
        with_value = factor.argsort(stable=True)  # images of a value lie side by side
        for where in (chosen == k).nonzero()[:, 0].split(TOGETHER):
            value = torch.randint(len(count), (len(where), 1))
            drawn = (torch.rand(len(where), images, dtype=torch.float64) * count[value]).long() + first[value]
            least[where] = codes[with_value[drawn]].var(1).argmin(1)
    return least, chosen


class FactorVAEScore(FactorMetric):
    """`factor_vae_score/test`: 1 if the code that stands still tells which known factor does, by majority vote."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"factor_vae_score": Quantity("", higher_is_better=True)}

    def __init__(self, *, images: int, votes: int, judged: int) -> None:
        super().__init__()
        self.images = check_whole_number("metric.factor_vae_score.images", images, minimum=2)
        self.votes = check_whole_number("metric.factor_vae_score.votes", votes, minimum=1)
        self.judged = check_whole_number("metric.factor_vae_score.judged", judged, minimum=1)

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """The accuracy."""
        settings = {"images": self.images, "votes": self.votes, "judged": self.judged}
        return {"factor_vae_score": factor_vae_score(codes, factors, **settings)}

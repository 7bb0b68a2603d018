"""Mutual information gap (MIG)."""

import itertools
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import entr
from torchmetrics.utilities import dim_zero_cat

from latentbench.errors import check_whole_number
from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors, gap_of_best_two, halves_of
from latentbench.metrics.measurements import Estimate, Quantity

MIN_PER_CELL = 5  # fewest images per bin and value for which the correction of the bias is enough


def mutual_information_gap(codes: Tensor, factors: Tensor, *, bins: int) -> Tensor:
    """Gap between the two coordinates that are most informative about a factor, relative to the factor's entropy.

    1/K sum_k (I(z_j; v_k) - max_{i != j} I(z_i; v_k)) / H(v_k),  j = argmax_i I(z_i; v_k)

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar; 1 if each factor is represented by a single
    coordinate; about 0, and possibly below, if two say the same. Factors with a single value are left out. If D = 1,
    the second information is 0.
    Raises: ValueError if codes and factors differ in number, or no factor varies.
    Source: Chen et al. 2018, equation 6. Where we differ: they integrate over draws of q(z|x); here I is computed from
    one code per image, with each coordinate cut into bins of equal width from its lowest to its highest value, as in
    Locatello et al. 2019. Without their bias for few images: (bins - 1)(values - 1) / 2N nats of a coordinate that says
    nothing are subtracted, and one half of the images decides which coordinates the other half is asked about.
    """
    codes, factors = canonical_codes_and_factors(codes, factors)
    binned = discretize(codes, bins)
    halves = [mutual_information(binned[half], factors[half]) for half in halves_of(len(codes))]
    gaps = [
        gap_of_best_two(ranking, information, torch.zeros_like(entropy)) / entropy.clamp(min=1e-12)
        for (ranking, _), (information, entropy) in itertools.permutations(halves)
    ]
    return torch.stack(gaps).mean()


def discretize(codes: Tensor, bins: int) -> Tensor:
    """Bin numbers (N, D) of codes (N, D), from 0. The maximum is in the last bin; constants are in the first."""
    low, high = codes.aminmax(dim=0)
    width = torch.where(high > low, high - low, 1.0)
    return ((codes - low) / width * bins).long().clamp(max=bins - 1)


def mutual_information(binned: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """I(z_i; v_k), (D, K), and H(v_k), (K,), in nats, for whole numbers (N, D) and (N, K).

    I = H(z) + H(v) - H(z, v), with H = sum_c -p_c log p_c + (m - 1) / 2N of the shares p_c of m values that occur.
    Source: Miller 1955, which removes the bias of order 1 / N.
    """
    rows = []
    for column in binned.T:
        row = []
        for factor in factors.T:
            values = int(factor.max()) + 1
            joint = (column * values + factor).bincount(minlength=values * (int(column.max()) + 1)).double()
            joint = joint.reshape(-1, values) / len(factor)
            code_entropy, factor_entropy, joint_entropy = (
                _entropy(shares, len(factor)) for shares in (joint.sum(1), joint.sum(0), joint)
            )
            row.append(code_entropy + factor_entropy - joint_entropy)
        rows.append(torch.stack(row))
    entropy = torch.stack([_entropy(factor.bincount().double() / len(factor), len(factor)) for factor in factors.T])
    return torch.stack(rows), entropy


def _entropy(shares: Tensor, n: int) -> Tensor:
    entropy: Tensor = entr(shares).sum() + ((shares > 0).sum() - 1).double() / (2 * n)
    return entropy


class MutualInformationGap(FactorMetric):
    """`mig/test`: 1 if each known factor is represented by one coordinate alone, 0 if two are equally informative.

    A caveat says if half of the images, from which each table is made, are fewer than `MIN_PER_CELL` per bin and value
    of a factor, or if a factor has more values than there are bins, which keeps mig below 1.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {"mig": Quantity("", higher_is_better=True)}

    def __init__(self, *, bins: int) -> None:
        super().__init__()
        self.bins = check_whole_number("metric.mig.bins", bins, minimum=2)

    def compute(self) -> dict[str, Estimate]:
        factors = dim_zero_cat(self.factors)
        counts = [n for factor in factors.T if (n := len(factor.unique())) > 1]
        n, values = len(factors) // 2, max(counts, default=2)  # one half chooses, the other is asked
        caveats = []
        if n < MIN_PER_CELL * self.bins * values:
            bias = (self.bins - 1) * (values - 1) / (2 * n * math.log(values))
            caveats.append(
                f"two halves of {n} images for {self.bins} bins and {values} values: coordinates that say nothing seem "
                f"to say something, and mig is too low by up to {bias:.2g}; take fewer bins by metric.mig.bins"
            )
        if values > self.bins:
            highest = sum(min(1.0, math.log(self.bins) / math.log(each)) for each in counts) / len(counts)
            caveats.append(
                f"{self.bins} bins do not tell {values} values of a factor apart: mig is at most about {highest:.2f}; "
                "take more bins by metric.mig.bins"
            )
        caveat = "; ".join(caveats)
        return {name: estimate._replace(caveat=caveat) for name, estimate in super().compute().items()}

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        return {"mig": mutual_information_gap(codes, factors, bins=self.bins)}

"""Mutual information gap (MIG)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import entr

from latentbench.errors import check_whole_number
from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors, gap_of_best_two
from latentbench.metrics.measurements import Quantity


def mutual_information_gap(codes: Tensor, factors: Tensor, *, bins: int) -> Tensor:
    """Gap between the two coordinates that are most informative about a factor, relative to the factor's entropy.

    1/K sum_k (I(z_j; v_k) - max_{i != j} I(z_i; v_k)) / H(v_k),  j = argmax_i I(z_i; v_k)

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar in [0, 1]; 1 if each factor is represented by a single
    coordinate. Factors with a single value are left out. If D = 1, the second information is 0.
    Raises: ValueError if codes and factors differ in number, or no factor varies.
    Source: Chen et al. 2018, equation 6. Where we differ: they integrate over draws of q(z|x); here I is computed from
    one code per image, with each coordinate cut into bins of equal width from its lowest to its highest value, as in
    Locatello et al. 2019. This estimate of I is too high by about (bins - 1)(values - 1) / 2N nats, in both terms of
    the gap.
    """
    codes, factors = canonical_codes_and_factors(codes, factors)
    information, entropy = mutual_information(discretize(codes, bins), factors)
    return (gap_of_best_two(information, torch.zeros_like(entropy)) / entropy).mean()


def discretize(codes: Tensor, bins: int) -> Tensor:
    """Bin numbers (N, D) of codes (N, D), from 0. The maximum is in the last bin; constants are in the first."""
    low, high = codes.aminmax(dim=0)
    width = torch.where(high > low, high - low, 1.0)
    return ((codes - low) / width * bins).long().clamp(max=bins - 1)


def mutual_information(binned: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Empirical I(z_i; v_k), (D, K), and H(v_k), (K,), in nats, for whole numbers (N, D) and (N, K)."""
    rows = []
    for column in binned.T:
        row = []
        for factor in factors.T:
            values = int(factor.max()) + 1
            joint = (column * values + factor).bincount(minlength=values * (int(column.max()) + 1)).double()
            joint = joint.reshape(-1, values) / len(factor)
            row.append(entr(joint.sum(0)).sum() + entr(joint.sum(1)).sum() - entr(joint).sum())
        rows.append(torch.stack(row))
    entropy = torch.stack([entr(factor.bincount().double() / len(factor)).sum() for factor in factors.T])
    return torch.stack(rows).clamp(min=0), entropy


class MutualInformationGap(FactorMetric):
    """`mig/test`: 1 if each known factor is represented by one coordinate alone, 0 if two are equally informative."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"mig": Quantity("", higher_is_better=True)}

    def __init__(self, *, bins: int) -> None:
        super().__init__()
        self.bins = check_whole_number("metric.mig.bins", bins, minimum=2)

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        return {"mig": mutual_information_gap(codes, factors, bins=self.bins)}

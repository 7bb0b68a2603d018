"""Mutual information gap (MIG)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import entr

from latentbench.errors import check_whole_number
from latentbench.metrics.base import Quantity
from latentbench.metrics.known_factors import FactorMetric, gap_of_best_two, prepared


def mutual_information_gap(codes: Tensor, factors: Tensor, *, bins: int) -> Tensor:
    """How much more the code that tells most of a factor tells than the next one, as a part of all there is to tell.

    1/K sum_k (I(z_j; v_k) - max_{i != j} I(z_i; v_k)) / H(v_k),  j = argmax_i I(z_i; v_k)

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar in [0, 1]; 1 if each factor is the affair of one code.
    A factor with one value is left out; a single code's rival tells nothing.
    Raises: ValueError if there are not as many codes as factors, or no factor varies.
    Source: Chen et al. 2018, equation 6. There I is of draws of q(z|x), by integration; here it is of one code per
    image, each dimension cut into bins of equal width from its lowest to its highest value, as Locatello et al. 2019
    do. Such an I is too high by about (bins - 1)(values - 1) / 2N nats, for both terms of a gap.
    """
    codes, factors = prepared(codes, factors)
    information, entropy = mutual_information(discretised(codes, bins), factors)
    return (gap_of_best_two(information, torch.zeros_like(entropy)) / entropy).mean()


def discretised(codes: Tensor, bins: int) -> Tensor:
    """The bin (N, D), counted from 0, of each code (N, D); the highest is in the last bin, a constant in the first."""
    low, high = codes.aminmax(dim=0)
    width = torch.where(high > low, high - low, 1.0)
    return ((codes - low) / width * bins).long().clamp(max=bins - 1)


def mutual_information(binned: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """I(z_i; v_k) of the counts, nats, (D, K), and H(v_k), nats, (K,): whole numbers (N, D) and (N, K)."""
    rows = []
    for column in binned.T:
        parts = []
        for factor in factors.T:
            values = int(factor.max()) + 1
            joint = (column * values + factor).bincount(minlength=values * (int(column.max()) + 1)).double()
            joint = joint.reshape(-1, values) / len(factor)
            parts.append(entr(joint.sum(0)).sum() + entr(joint.sum(1)).sum() - entr(joint).sum())
        rows.append(torch.stack(parts))
    entropy = torch.stack([entr(factor.bincount().double() / len(factor)).sum() for factor in factors.T])
    return torch.stack(rows).clamp(min=0), entropy


class MutualInformationGap(FactorMetric):
    """`mig/test`: 1 if each known factor is the affair of one code alone, 0 if two codes tell as much of it."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"mig": Quantity("", higher_is_better=True)}

    def __init__(self, *, bins: int) -> None:
        super().__init__()
        self.bins = check_whole_number("metric.mig.bins", bins, minimum=2)

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """The gap."""
        return {"mig": mutual_information_gap(codes, factors, bins=self.bins)}

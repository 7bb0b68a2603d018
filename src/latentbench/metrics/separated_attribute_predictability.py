"""Separated attribute predictability (SAP)."""

import itertools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors, gap_of_best_two, halves_of
from latentbench.metrics.measurements import Quantity


def separated_attribute_predictability(codes: Tensor, factors: Tensor) -> Tensor:
    """Gap in accuracy between the two coordinates that predict a factor best.

    1/K sum_k (S_jk - max_{i != j} S_ik),  j = argmax_i S_ik,
    S_ik = balanced accuracy of predicting the n_k values of factor k from coordinate i with n_k - 1 thresholds

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar, 1 - 1/K sum_k 1/n_k at most; about 0, and possibly
    below, if two coordinates say the same. An uninformative coordinate has S = 1 / n_k; if D = 1, this is the second
    accuracy. Factors with a single value are left out.
    Raises: ValueError if codes and factors differ in number, or no factor varies.
    Source: Kumar et al. 2018, section 3, for categorical factors. Where we differ: one half of the images decides on
    the thresholds and the best two coordinates, and the other half on the accuracy of these, and the reverse. On the
    same images it is too high, most of all for coordinates that say nothing. Factors are class indices, so that none is
    treated as continuous (for which the paper uses a squared correlation); thresholds are those of a decision tree,
    split by the Gini impurity of equally weighted classes; coordinates of small variance are not set to S = 0.
    Locatello et al. 2019 use a linear support vector machine, which cannot separate the inner values of a factor by one
    coordinate, and gives far lower scores.
    """
    codes, factors = canonical_codes_and_factors(codes, factors)
    chance = 1 / (factors.amax(0) + 1).double()
    gaps = [
        gap_of_best_two(*predictability(codes, factors, fitted, tested), chance)
        for fitted, tested in itertools.permutations(halves_of(len(codes)))
    ]
    return torch.stack(gaps).mean()


def predictability(codes: Tensor, factors: Tensor, fitted: Tensor, tested: Tensor) -> tuple[Tensor, Tensor]:
    """S (D, K) for codes (N, D) and factors (N, K), on the images that thresholds are fitted on and on those tested."""
    tables = torch.empty(2, codes.shape[1], factors.shape[1], dtype=torch.float64)
    for k, factor in enumerate(factors.T.numpy()):
        for i, code in enumerate(codes.T.numpy()):
            tree = DecisionTreeClassifier(max_leaf_nodes=factor.max() + 1, class_weight="balanced", random_state=0)
            tree.fit(code[fitted, None], factor[fitted])
            for table, images in zip(tables, (fitted, tested), strict=True):
                is_right = tree.predict(code[images, None]) == factor[images]
                table[i, k] = np.mean([is_right[factor[images] == value].mean() for value in set(factor[images])])
    return tables[0], tables[1]


class SeparatedAttributePredictability(FactorMetric):
    """`sap/test`: high if each known factor can be predicted from one coordinate and from no other."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"sap": Quantity("", higher_is_better=True)}

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        return {"sap": separated_attribute_predictability(codes, factors)}

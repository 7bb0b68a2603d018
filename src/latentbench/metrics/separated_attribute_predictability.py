"""Separated attribute predictability (SAP)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors, gap_of_best_two
from latentbench.metrics.measurements import Quantity


def separated_attribute_predictability(codes: Tensor, factors: Tensor) -> Tensor:
    """Gap in accuracy between the two coordinates that predict a factor best.

    1/K sum_k (S_jk - max_{i != j} S_ik),  j = argmax_i S_ik,
    S_ik = balanced accuracy of predicting the n_k values of factor k from coordinate i with n_k - 1 thresholds

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar in [0, 1 - 1/K sum_k 1/n_k]. An uninformative
    coordinate has S = 1 / n_k; if D = 1, this is the second accuracy. Factors with a single value are left out.
    Raises: ValueError if codes and factors differ in number, or no factor varies.
    Source: Kumar et al. 2018, section 3, for categorical factors. As there, thresholds are fitted and tested on the
    same images, so that nothing is random. Where we differ: factors are class indices, so that none is treated as
    continuous (for which the paper uses a squared correlation); thresholds are those of a decision tree, split by the
    Gini impurity of equally weighted classes; coordinates of small variance are not set to S = 0. Locatello et al. 2019
    use a linear support vector machine, which cannot separate the inner values of a factor by one coordinate, and gives
    far lower scores.
    """
    codes, factors = canonical_codes_and_factors(codes, factors)
    chance = 1 / (factors.amax(0) + 1).double()
    return gap_of_best_two(predictability(codes, factors), chance).mean()


def predictability(codes: Tensor, factors: Tensor) -> Tensor:
    """S (D, K) for codes (N, D) and factors (N, K) in which each of the values 0, ..., n_k - 1 occurs."""
    table = torch.empty(codes.shape[1], factors.shape[1], dtype=torch.float64)
    for k, factor in enumerate(factors.T.numpy()):
        for i, code in enumerate(codes.T.numpy()):
            tree = DecisionTreeClassifier(max_leaf_nodes=factor.max() + 1, class_weight="balanced", random_state=0)
            predicted = tree.fit(code[:, None], factor).predict(code[:, None])
            table[i, k] = balanced_accuracy_score(factor, predicted)
    return table


class SeparatedAttributePredictability(FactorMetric):
    """`sap/test`: high if each known factor can be predicted from one coordinate and from no other."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"sap": Quantity("", higher_is_better=True)}

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        return {"sap": separated_attribute_predictability(codes, factors)}

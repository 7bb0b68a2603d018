"""Separated attribute predictability (SAP)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from latentbench.metrics.base import Quantity
from latentbench.metrics.known_factors import FactorMetric, gap_of_best_two, prepared


def separated_attribute_predictability(codes: Tensor, factors: Tensor) -> Tensor:
    """How much better the code that predicts a factor best predicts it than the next one.

    1/K sum_k (S_jk - max_{i != j} S_ik),  j = argmax_i S_ik,
    S_ik = accuracy, averaged over the n_k values of factor k, of guessing it from code i by n_k - 1 thresholds

    Shape: codes (N, D), factors (N, K), whole numbers -> scalar in [0, 1 - 1/K sum_k 1/n_k]: a code that says nothing
    has S = 1 / n_k, and is the rival of a single code. A factor with one value is left out.
    Raises: ValueError if there are not as many codes as factors, or no factor varies.
    Source: Kumar et al. 2018, section 3, for factors that are categories; thresholds are found and judged on the same
    images, as there, so that nothing is drawn. Where we differ: factors are known by the index of their value, hence
    none is treated as continuous (for which the paper has a squared correlation); thresholds are a decision tree's,
    split by the Gini impurity of equally weighted values; dimensions of small variance are not set to S = 0.
    Locatello et al. 2019 take a linear support vector machine, which from one code cannot tell the values between the
    outermost apart, and have far lower scores.
    """
    codes, factors = prepared(codes, factors)
    of_nothing = 1 / (factors.amax(0) + 1).double()
    return gap_of_best_two(predictability(codes, factors), of_nothing).mean()


def predictability(codes: Tensor, factors: Tensor) -> Tensor:
    """S (D, K) of codes (N, D) and factors (N, K) with values 0, ..., n_k - 1, each there."""
    table = torch.empty(codes.shape[1], factors.shape[1], dtype=torch.float64)
    for k, factor in enumerate(factors.T.numpy()):
        for i, code in enumerate(codes.T.numpy()):
            tree = DecisionTreeClassifier(max_leaf_nodes=factor.max() + 1, class_weight="balanced", random_state=0)
            guesses = tree.fit(code[:, None], factor).predict(code[:, None])
            table[i, k] = balanced_accuracy_score(factor, guesses)
    return table


class SeparatedAttributePredictability(FactorMetric):
    """`sap/test`: high if each known factor can be guessed from one code and from no other."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"sap": Quantity("", higher_is_better=True)}

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """The gap of accuracies."""
        return {"sap": separated_attribute_predictability(codes, factors)}

"""Disentanglement, completeness and informativeness (DCI)."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor
from torch.special import entr

from latentbench.errors import check_whole_number, check_widths
from latentbench.metrics.base import Quantity
from latentbench.metrics.known_factors import FactorMetric, prepared


def importances(codes: Tensor, factors: Tensor, *, trees: int, leaves: Sequence[int]) -> tuple[Tensor, Tensor]:
    """R (D, K), the importance of each code for guessing each factor, and the guesses' accuracy (K,) on other images.

    A random forest guesses each factor from all codes. Half of the images, drawn at random, grow a forest for each
    number in `leaves`, of images at least in a leaf; a quarter chooses the most accurate one; a quarter judges it.
    Large trees split on noise, which shares the importances out among codes that say nothing. The importance of a
    code is the part of the decrease in Gini impurity that its splits bring; of a factor the importances sum to 1, or
    to 0 where no split was made.

    Shape: codes (N, D), factors (N, K), whole numbers; a factor with one value is left out.
    Drawn with torch's global random numbers. Raises: ValueError as `prepared`, or if there are fewer than 4 images.
    """
    codes, factors = prepared(codes, factors)
    n = len(codes)
    if n < 4:
        raise ValueError(f"{n} images cannot be split in three")
    parts = [part.numpy() for part in torch.randperm(n).tensor_split([n // 2, n - n // 4])]
    seed = int(torch.randint(2**31, ()))
    x = codes.numpy()
    columns, accuracies = [], []
    for y in factors.T.numpy():
        growing, choosing, judging = [(x[part], y[part]) for part in parts]
        # All codes are tried at every split: of a random few the best may be one that has nothing to say.
        forests = [
            RandomForestClassifier(trees, max_features=None, min_samples_leaf=leaf, random_state=seed).fit(*growing)
            for leaf in leaves
        ]
        best = max(forests, key=lambda forest: forest.score(*choosing))
        columns.append(torch.from_numpy(best.feature_importances_))
        accuracies.append(best.score(*judging))
    return torch.stack(columns, 1), torch.tensor(accuracies, dtype=torch.float64)


def disentanglement(importance: Tensor) -> Tensor:
    """Whether each code is important for one factor only: 1 if so, 0 if each is alike important for all.

    sum_i rho_i (1 - H(P_i) / log K),  P_ik = R_ik / sum_l R_il,  rho_i = sum_k R_ik / sum_jk R_jk

    Shape: R (D, K), 0 or more -> scalar in [0, 1]; 0 if all are 0, and 1 of one factor. Units: none.
    Source: Eastwood & Williams 2018, section 2.
    """
    total = importance.sum(1)
    share = importance / torch.where(total > 0, total, 1.0)[:, None]
    concentration = 1 - entr(share).sum(1) / math.log(max(importance.shape[1], 2))
    score: Tensor = (total * concentration.clamp(min=0)).sum() / torch.where(total.sum() > 0, total.sum(), 1.0)
    return score


def completeness(importance: Tensor) -> Tensor:
    """Whether for each factor one code only is important: 1 if so, 0 if all are alike.

    sum_k rho_k (1 - H(P_k) / log D),  P_ik = R_ik / sum_j R_jk,  rho_k = sum_i R_ik / sum_jl R_jl

    Shape: R (D, K), 0 or more -> scalar in [0, 1]; 0 if all are 0, and 1 of one code. Units: none.
    Source: Eastwood & Williams 2018, section 2; the weights rho_k are equal where each factor's importances sum to 1.
    """
    return disentanglement(importance.T)


class DisentanglementCompletenessInformativeness(FactorMetric):
    """`dci_disentanglement/test`, `dci_completeness/test` and `dci_informativeness/test`, each at best 1.

    Informativeness is the accuracy of guessing a factor from all codes, averaged over factors; codes that say nothing
    have that of the most frequent value. Numbers of different forests are not to be compared.
    Source: Eastwood & Williams 2018, section 2. Where we differ: factors are known by the index of their value, so the
    forest classifies rather than regresses, and informativeness is an accuracy rather than an error; the trees' size is
    chosen by their least leaf rather than by their depth. Locatello et al. 2019 take gradient boosted trees.
    """

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "dci_disentanglement": Quantity("", higher_is_better=True),
        "dci_completeness": Quantity("", higher_is_better=True),
        "dci_informativeness": Quantity("", higher_is_better=True),
    }

    def __init__(self, *, trees: int, leaves: Sequence[int]) -> None:
        super().__init__()
        self.trees = check_whole_number("metric.dci.trees", trees, minimum=1)
        self.leaves = check_widths("metric.dci.leaves", leaves)

    def score(self, codes: Tensor, factors: Tensor) -> dict[str, Tensor]:
        """All three."""
        importance, accuracy = importances(codes, factors, trees=self.trees, leaves=self.leaves)
        return {
            "dci_disentanglement": disentanglement(importance),
            "dci_completeness": completeness(importance),
            "dci_informativeness": accuracy.mean(),
        }

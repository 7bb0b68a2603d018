"""Disentanglement, completeness and informativeness (DCI)."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor
from torch.special import entr

from latentbench.errors import check_whole_number, check_widths
from latentbench.metrics.known_factors import FactorMetric, canonical_codes_and_factors
from latentbench.metrics.measurements import Quantity


def importances(codes: Tensor, factors: Tensor, *, trees: int, leaves: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Importance R (D, K) of each coordinate for predicting each factor, and accuracy (K,) on held-out images.

    A random forest predicts each factor from all coordinates. The images are split at random: one half trains a forest
    for each minimum leaf size in `leaves`, a quarter selects the most accurate forest, and a quarter tests it. Without
    a minimum, large trees split on noise, which spreads importance over irrelevant coordinates.
    The importance of a coordinate is its share of the decrease in Gini impurity. The importances for a factor sum to 1,
    or to 0 if the forest has no split.

    Shape: codes (N, D), factors (N, K), whole numbers; factors with a single value are left out.
    Uses torch's global random numbers.
    Raises: ValueError as `canonical_codes_and_factors`, or for fewer than 4 images.
    """
    codes, factors = canonical_codes_and_factors(codes, factors)
    n = len(codes)
    if n < 4:
        raise ValueError(f"{n} images cannot be split into three parts")
    parts = [part.numpy() for part in torch.randperm(n).tensor_split([n // 2, n - n // 4])]
    seed = int(torch.randint(2**31, ()))
    x = codes.numpy()
    columns, accuracies = [], []
    for y in factors.T.numpy():
        train, validation, test = [(x[part], y[part]) for part in parts]
        # Every split considers all coordinates: in a random subset the best one may be irrelevant.
        forests = [
            RandomForestClassifier(trees, max_features=None, min_samples_leaf=leaf, random_state=seed).fit(*train)
            for leaf in leaves
        ]
        best = max(forests, key=lambda forest: forest.score(*validation))
        columns.append(torch.from_numpy(best.feature_importances_))
        accuracies.append(best.score(*test))
    return torch.stack(columns, 1), torch.tensor(accuracies, dtype=torch.float64)


def disentanglement(importance: Tensor) -> Tensor:
    """Whether each coordinate is important for a single factor: 1 if so, 0 if it is equally important for all.

    sum_i rho_i (1 - H(P_i) / log K),  P_ik = R_ik / sum_l R_il,  rho_i = sum_k R_ik / sum_jk R_jk

    Shape: R (D, K), 0 or more -> scalar in [0, 1]; 0 if all entries are 0, 1 if there is one factor.
    Source: Eastwood & Williams 2018, section 2.
    """
    total = importance.sum(1)
    share = importance / torch.where(total > 0, total, 1.0)[:, None]
    concentration = 1 - entr(share).sum(1) / math.log(max(importance.shape[1], 2))
    score: Tensor = (total * concentration.clamp(min=0)).sum() / torch.where(total.sum() > 0, total.sum(), 1.0)
    return score


def completeness(importance: Tensor) -> Tensor:
    """Whether for each factor a single coordinate is important: 1 if so, 0 if all are equally important.

    sum_k rho_k (1 - H(P_k) / log D),  P_ik = R_ik / sum_j R_jk,  rho_k = sum_i R_ik / sum_jl R_jl

    Shape: R (D, K), 0 or more -> scalar in [0, 1]; 0 if all entries are 0, 1 if there is one coordinate.
    Source: Eastwood & Williams 2018, section 2; the weights rho_k are equal if the importances for each factor sum to
    1.
    """
    return disentanglement(importance.T)


class DisentanglementCompletenessInformativeness(FactorMetric):
    """`dci_disentanglement/test`, `dci_completeness/test` and `dci_informativeness/test`, each at most 1.

    Informativeness is the accuracy of predicting a factor from all coordinates, averaged over factors. Codes that are
    independent of the factors score the frequency of the most frequent value. Scores depend on the regressor: do not
    compare scores of different forests.
    Source: Eastwood & Williams 2018, section 2. Where we differ: factors are class indices, so that the forest
    classifies instead of regressing, and informativeness is an accuracy instead of an error; the size of the trees is
    selected by their minimum leaf instead of by their depth. Locatello et al. 2019 use gradient boosted trees.
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
        importance, accuracy = importances(codes, factors, trees=self.trees, leaves=self.leaves)
        return {
            "dci_disentanglement": disentanglement(importance),
            "dci_completeness": completeness(importance),
            "dci_informativeness": accuracy.mean(),
        }

"""The family of a method: by its encoder, its prior and its regularizer, as a run's record names their classes."""

from latentbench.configuration.settings import CLASS
from latentbench.records.record import Record

NO_ENCODER = "no encoder"
DISCRETE = "discrete codes"
DETERMINISTIC = "deterministic encoder"
NORMAL = "KL to a normal prior"
OTHER_PRIOR = "KL to another prior"
OTHER_PENALTY = "random encoder, other penalty"
FAMILIES = (NORMAL, OTHER_PRIOR, OTHER_PENALTY, DETERMINISTIC, NO_ENCODER, DISCRETE)  # as legends list them


def family_of(run: Record) -> str:
    """The family of a run. A class of somebody else's package falls where its other parts put it."""
    posterior, prior, regularizer = (_class(run, group) for group in ("posterior", "prior", "regularizer"))
    if not posterior:
        return NO_ENCODER
    if prior == "CategoricalPrior":
        return DISCRETE
    if posterior == "DiracPosterior":
        return DETERMINISTIC
    if regularizer != "KullbackLeibler":
        return OTHER_PENALTY
    return NORMAL if prior == "NormalPrior" else OTHER_PRIOR


def _class(run: Record, group: str) -> str:
    """The name of the class that a run took from a group of options; empty without one."""
    return str((run.config.get(group) or {}).get(CLASS, "")).rpartition(".")[2]

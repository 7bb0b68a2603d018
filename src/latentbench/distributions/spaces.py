"""Where latents may lie."""

from typing import NamedTuple


class Space(NamedTuple):
    """A set of latents, in words, and options whose draws lie there."""

    words: str
    priors: str
    posteriors: str


REAL = Space("all of R^n", "normal, laplace, logistic or student_t", "gaussian, laplace, logistic or student_t")
BOX = Space("a box", "uniform", "beta")
SPHERE = Space("the unit sphere", "hypersphere", "von_mises_fisher or power_spherical")
CODES = Space("a finite set of code words", "categorical", "categorical")

BOX_HALF_WIDTH = 3**0.5  # of [-sqrt(3), sqrt(3)], on which the uniform distribution has variance 1

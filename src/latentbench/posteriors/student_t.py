"""Student's t posterior."""

from torch import Tensor

from latentbench.distributions.student_t import StudentT
from latentbench.errors import check_number
from latentbench.posteriors.location_scale import LocationScalePosterior


class StudentTPosterior(LocationScalePosterior):
    """q(z|x) = prod_j StudentT(z_j; nu, m_j(x), s_j(x)) with fixed degrees of freedom nu > 2.

    Source: Kingma & Welling 2014, section 2.4 (any location-scale family can replace the Gaussian).
    """

    def __init__(self, *, latent_size: int, coordinates: int, degrees_of_freedom: float) -> None:
        super().__init__(latent_size=latent_size, coordinates=coordinates)
        self.degrees_of_freedom = check_number("posterior.degrees_of_freedom", degrees_of_freedom, above=2)

    def factors(self, location: Tensor, scale: Tensor) -> StudentT:
        return StudentT(self.degrees_of_freedom, location, scale)

"""The fixtures of every contract."""

from latentbench.contracts.fixtures import nothing_in_the_users_cache, same_random_numbers

__all__ = ["nothing_in_the_users_cache", "same_random_numbers"]

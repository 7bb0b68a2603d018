"""The keys of a record's numbers: `quantity/set`, and after an @ what they were measured against.

    fid/prior              an image set, compared with test images
    fid/prior@validation   the same set, compared with validation images
    nll/test               of the model, on test images
    nll/validation         of the model, on validation images

A metric gives its numbers under the keys of test images; `View` makes the keys of the record of them.
"""

from typing import NamedTuple

TEST, VALIDATION = "test", "validation"
SPLITS = (TEST, VALIDATION)  # what may be measured against
REAL = "real"  # the set of real images, whose numbers are the floor


class View(NamedTuple):
    """What a metric is measured against, which its keys say."""

    split: str

    def recorded(self, set_name: str) -> str:
        """The name in the record of a set: `test` is the only set of a metric of the model."""
        if set_name == TEST:
            return self.split
        return set_name if self.split == TEST else f"{set_name}@{self.split}"


def parse_set(recorded: str) -> tuple[str, View]:
    """The set, as a metric names it, and the view of a set in the record."""
    if recorded in SPLITS:
        return TEST, View(recorded)
    set_name, _, split = recorded.partition("@")
    return set_name, View(split or TEST)


def is_floor(key: str) -> bool:
    """Whether a key is that of real images."""
    return parse_set(key.partition("/")[2])[0] == REAL


def floor_key(key: str) -> str:
    """The key of what real images score, measured in the same way."""
    quantity, _, recorded = key.partition("/")
    return f"{quantity}/{parse_set(recorded)[1].recorded(REAL)}"

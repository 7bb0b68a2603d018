"""The keys of a record's numbers: `quantity/set`, and after an @ how they were measured.

    fid/prior                     an image set, compared with test images in the features of the data set's classifier
    fid/prior@random              in other features: the option of `features`
    fid/prior@validation          compared with validation images
    fid/prior@random@validation   both
    nll/test, nll/validation      of the model, on test images and on validation images

A metric gives its numbers under the keys of test images; `View` makes the keys of the record of them.
"""

from typing import NamedTuple

from latentbench.configuration.catalogue import SPLITS

TEST, VALIDATION = SPLITS
CLASSIFIER = "classifier"  # the features that keys do not name
REAL = "real"  # the set of real images, whose numbers are the floor


class View(NamedTuple):
    """How a metric is measured, which its keys say.

    split: what it is measured against
    features: the option; the classifier for a metric that uses none; None: all that are asked for, if it uses any
    """

    split: str
    features: str | None = CLASSIFIER

    def recorded(self, set_name: str) -> str:
        """The name in the record of a set: `test` is the only set of a metric of the model."""
        if set_name == TEST:
            return self.split
        assert self.features is not None
        suffixes = [self.features] * (self.features != CLASSIFIER) + [self.split] * (self.split != TEST)
        return "@".join([set_name, *suffixes])


def parse_set(recorded: str) -> tuple[str, View]:
    """The set, as a metric names it, and the view of a set in the record."""
    if recorded in SPLITS:
        return TEST, View(recorded)
    set_name, *suffixes = recorded.split("@")
    split = suffixes.pop() if VALIDATION in suffixes else TEST
    return set_name, View(split, *suffixes)


def view_of(key: str) -> View:
    """The view of a key."""
    return parse_set(key.partition("/")[2])[1]


def against_test(key: str) -> str:
    """The key of the same number, measured against test images."""
    quantity, _, recorded = key.partition("/")
    set_name, view = parse_set(recorded)
    return f"{quantity}/{view._replace(split=TEST).recorded(set_name)}"


def is_of_model(key: str) -> bool:
    """Whether a key is that of the model, on no set of images, which has no features."""
    return parse_set(key.partition("/")[2])[0] == TEST


def is_floor(key: str) -> bool:
    """Whether a key is that of real images."""
    return parse_set(key.partition("/")[2])[0] == REAL


def floor_key(key: str) -> str:
    """The key of what real images score, measured in the same way."""
    return f"{key.partition('/')[0]}/{view_of(key).recorded(REAL)}"

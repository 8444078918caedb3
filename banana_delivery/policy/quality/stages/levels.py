"""Beyond how many standard errors a loss is no chance, where many gates watch, and how large a loss is found then."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from banana_delivery.policy.quality.stages.looks import ONE_SIDED

FOUND_ERRORS = 1.282
"""Standard errors beyond a margin from which a loss is found in 90 of 100 deliveries."""
UNSEEN = 2.0
"""Objects told apart that are added to those seen: of three that both models find, nobody learns about the next."""
FEW_IMAGES = 20.0
"""Up to so many images with as many objects each say too little about how far images lie apart. By that alone, equal
models whose finds waver by image as well would be turned back for a class of 30 objects in one image in 5 to 20 % of
the deliveries, of 20 objects in each of eight in 0.4 to 0.9 %, where 0.1 % is meant."""
PARTLY = 0.75
"""Share of the variance that recall around a confidence has of that at one: 0.72 to 0.79 measured."""
CLOSE = 1e-4
"""Standard errors: how exactly the level is looked for."""


def standard_errors(tests: Sequence[tuple[float, float]], error: float) -> float:
    """The level at which all tests together turn an equal model back no more often than that.

    A test turns back what loses more than its margin and more than the level. Where many objects are labelled the
    margin is many standard errors, and chance alone hardly ever loses as much: such a test needs next to nothing of
    what all may get wrong, and the others, those of rare classes, share the rest. An equal share for each test would
    be lost on it. By Bonferroni's inequality the sum bounds all of them, whatever they have in common.

    Args:
        tests: margin and standard error of each.
        error: how often all of them together may be wrong, 0 to 1.
    """
    chance = NormalDist()
    low, high = ONE_SIDED, chance.inv_cdf(1 - error / max(len(tests), 1))
    in_errors = [margin / each if each > 0 else float("inf") for margin, each in tests]
    while high - low > CLOSE:
        middle = (low + high) / 2
        wrong = sum(chance.cdf(-max(margin, middle)) for margin in in_errors)
        low, high = (middle, high) if wrong > error else (low, middle)
    return high


def unseen_of(shown: NDArray[np.int64]) -> float:
    """Objects told apart that are added to those seen, squared: more where few images show them.

    An image is the unit of chance, and its objects are found or missed together. Two images may agree by luck, and one
    agrees with itself, however many objects it shows; so where there are few, the objects that come together are added.

    Args:
        shown: how many objects each image shows; at least one shows any.
    """
    objects = float(shown.sum())
    together = float((shown.astype(np.float64) ** 2).sum()) / objects
    return UNSEEN * (1 + (together - 1) * min(1.0, FEW_IMAGES * together / objects))


def found(
    margin: float, errors: float, error: float, objects: int, share: float = 1.0, unseen: float = UNSEEN
) -> float:
    """The loss that is found in 90 of 100 deliveries, where one is from ``errors`` standard errors beyond a margin.

    An estimate wavers the more the larger the loss is: two models that differ by a tenth of the objects disagree
    about a tenth of them at least.

    Args:
        margin: the policy's, or 0 where it is chance alone that a loss has to exceed.
        errors: standard errors that it has to be beyond the margin.
        error: standard error of the loss that was measured.
        objects: labelled ones.
        share: of the variance that so many objects, all found or lost, would bring.
        unseen: as `unseen_of` says.
    """
    beyond = errors + FOUND_ERRORS
    each = share * beyond**2 / objects
    half = margin + each / 2
    return max(margin + beyond * error, half + sqrt(half**2 - margin**2 + each * unseen / objects))


def of_all(loss: float, margin: float, errors: float, objects: int, unseen: float = UNSEEN) -> float:
    """A loss that is found, of a share: 1 where only that of everything is found, and more where not even that is.

    Who finds nothing any more loses the same everywhere, so that the loss hardly wavers.

    Args:
        loss: what ``found`` says.
        margin: the policy's; 1 lets everything be lost.
        errors: standard errors that it has to be beyond the margin.
        objects: labelled ones.
        unseen: as `unseen_of` says.
    """
    return min(loss, 1.0) if max(margin, errors * sqrt(unseen) / objects) < 1 else loss

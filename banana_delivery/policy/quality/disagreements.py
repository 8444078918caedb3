"""The images on which two models differ most: what a person looks at after reading the verdict."""

from __future__ import annotations

import numpy as np

from banana_delivery.policy.model import StoredModel
from banana_delivery.policy.quality.matching import Integers, Matches

SHOWN_CONFIDENCE = 0.25
"""The serving default: what a user of the detector sees."""

SHOWN_IMAGES = 12


class Disagreement(StoredModel):
    """An image on which the two models differ, counted at the confidence that users see.

    Attributes:
        image: its name.
        candidate_missed: labelled objects that the candidate did not find.
        candidate_false: detections of the candidate that are no labelled object.
        production_missed: labelled objects that production did not find.
        production_false: detections of production that are no labelled object.
    """

    image: str
    candidate_missed: int
    candidate_false: int
    production_missed: int
    production_false: int

    @property
    def extra_errors(self) -> int:
        """How many more errors the candidate makes here; negative where it is the better one."""
        return self.candidate_missed + self.candidate_false - self.production_missed - self.production_false


def disagreements(candidate: Matches, production: Matches) -> tuple[Disagreement, ...]:
    """The `SHOWN_IMAGES` images whose error counts differ most, in either direction; none where they do not differ."""
    candidate_missed, candidate_false = _errors(candidate)
    production_missed, production_false = _errors(production)
    difference = np.abs(candidate_missed - production_missed) + np.abs(candidate_false - production_false)
    order = np.argsort(-difference, kind="stable")[:SHOWN_IMAGES]
    return tuple(
        Disagreement(
            image=candidate.names[index],
            candidate_missed=int(candidate_missed[index]),
            candidate_false=int(candidate_false[index]),
            production_missed=int(production_missed[index]),
            production_false=int(production_false[index]),
        )
        for index in order
        if difference[index] > 0
    )


def _errors(matches: Matches) -> tuple[Integers, Integers]:
    """Missed objects and false detections of every image.

    Matching went by falling score, so that cutting the unsure detections off changes no match of the others.
    """
    shown = matches.score > SHOWN_CONFIDENCE
    found = np.bincount(matches.image[shown & matches.hit], minlength=len(matches.names))
    false = np.bincount(matches.image[shown & ~matches.hit], minlength=len(matches.names))
    return matches.truths.sum(axis=1) - found, false

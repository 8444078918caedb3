"""Where a delivery gets its evidence: tests over HTTP, answers to labelled images, and load by the internal route."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.model import ImageRef
from banana_delivery.policy.performance import PerformanceMargins
from banana_delivery.policy.quality.comparison import RESAMPLES, QualityComparison
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.quality.stages.parts import chosen

Log = Callable[[str], None]


@dataclass(frozen=True)
class ReleaseEndpoint:
    """A release and where it answers."""

    url: str
    ref: ImageRef


@dataclass(frozen=True)
class ProductionAnswers:
    """What production says about the labelled images, as far as it says anything.

    Attributes:
        matches: matched with the labels; an image without an answer counts as one in which nothing was found.
        unanswered: images that it did not answer now.
        why: what became of the first of them; empty if all were answered.
        kept: whether these are earlier answers of its digest, taken because too few were answered now.
    """

    matches: Matches
    unanswered: int = 0
    why: str = ""
    kept: bool = False

    @property
    def said(self) -> Matches | None:
        """What it answered now, without what it left unanswered; None if these are earlier answers."""
        if self.kept or self.matches.unanswered is None:
            return None if self.kept else self.matches
        return replace(chosen(self.matches, np.flatnonzero(~self.matches.unanswered)), unanswered=None)


class Load(Protocol):
    """Load whose rate can be changed while it runs."""

    def set_rate(self, requests_per_second: float) -> None:
        """Send so many requests a second from now on; 0 pauses."""


class Evaluator(ABC):
    """Gathers what the policies judge.

    Attributes:
        resamples: how many bootstrap resamples a comparison of its answers takes.
    """

    resamples: int = RESAMPLES

    @property
    def holdout(self) -> str:
        """Digest of the labelled images and their labels: equal ones make figures comparable."""
        return ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the labelled images show; empty where nobody knows."""
        return ()

    @property
    def judges_by(self) -> str:
        """Which images these are, and what to do if they are the wrong ones: the end of a sentence."""
        return ""

    @abstractmethod
    def sample_images(self, count: int) -> list[Path]:
        """Files of the first labelled images, for the parity of the exported model."""

    def judging_images(self) -> Sequence[LabelledImage]:
        """The labelled images, by which models are judged; none where nobody has files."""
        return ()

    def calibration_images(self) -> list[Path]:
        """Files of other images of the same kind, which judge nothing; none where there are none."""
        return []

    @abstractmethod
    def tests(self, release: ReleaseEndpoint, log: Log) -> list[TestRow]:
        """The smoke, integration and performance table of a release, gathered over HTTP."""

    def speed(
        self, candidate: ReleaseEndpoint, production: ReleaseEndpoint, margins: PerformanceMargins, log: Log
    ) -> list[TestRow]:
        """Rows that say how fast a release answers beside what serves; none where nobody can measure it.

        Args:
            candidate: the release in staging.
            production: what serves; its own faults are not held against the candidate.
            margins: of the policy.
            log: told the result.
        """
        del candidate, production, margins, log
        return []

    def image_count(self) -> int:
        """How many labelled images there are; 0 where nobody can ask about some of them alone."""
        return 0

    @abstractmethod
    def answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> Matches:
        """A release's answers to labelled images, matched with the labels.

        Args:
            release: what must answer, and where.
            log: told how far it is.
            fresh: ask in any case. Otherwise earlier answers of the same digest to the same images will do, since
                equal images give equal answers.
            first: about so many images, which are always the same ones; 0 for all.
            said: what it answered in this comparison already; about these images it is not asked again.

        Raises:
            EvaluationError: if other digests answered than were meant, or too many questions got no answer.
        """

    @abstractmethod
    def production_answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> ProductionAnswers:
        """The same of the release that serves, which may be what has to be mended: that it fails ends nothing.

        Args:
            release: what must answer, and where.
            log: told how far it is.
            fresh: as for ``answers``. Where it leaves more images unanswered than ``TOLERATED_UNANSWERED``, earlier
                answers of its digest are taken all the same, if there are any.
            first: as for ``answers``.
            said: as for ``answers``.

        Raises:
            EvaluationError: if another digest answered than was meant.
        """

    def keep_worst(
        self, ref: ImageRef, comparison: QualityComparison, candidate: Matches, production: Matches, log: Log
    ) -> None:
        """Keep the images on which two releases differ most, for reports; nothing where nobody has the pictures.

        That it fails is told and ends nothing.

        Args:
            ref: the candidate.
            comparison: names the images.
            candidate: the answers that were compared.
            production: the same of production.
            log: told what went wrong.
        """
        del ref, comparison, candidate, production, log

    def ready(self, seconds: float) -> bool:
        """Whether a probe can begin at once.

        What it sends is read in the background, where that takes time, and goes on being read after this has returned.

        Args:
            seconds: to wait for it, at most.
        """
        del seconds
        return True

    @abstractmethod
    def probe(self, url: str, token: str = "") -> AbstractContextManager[Load]:
        """Load that replays labelled images against an internal route; starts at rate 0, ends with the block.

        Args:
            url: of the route.
            token: what its requests prove by that they are the probe's.
        """

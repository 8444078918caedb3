"""Evidence in memory, for tests: it knows how good each version is, and its load arrives at a fake target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from banana_delivery.evaluation.base import Evaluator, Log, ProductionAnswers, ReleaseEndpoint
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.quality.assessment import TOLERATED_UNANSWERED
from banana_delivery.policy.quality.matching import Matches

IMAGES = 1000


@dataclass
class FakeLoad:
    """A load that remembers its rate; whoever advances the clock asks it how much is due."""

    url: str
    token: str = ""
    rate: float = 0.0

    def set_rate(self, requests_per_second: float) -> None:
        """Remember it."""
        self.rate = requests_per_second


@dataclass
class FakeEvaluator(Evaluator):
    """The fake.

    Attributes:
        found: share of the labelled objects that a version finds, by version; others find 90 %.
        broken: why a version's tests fail, by version.
        loads: the probes that run now.
        resamples: few, since they take longer than all the rest of a delivery in memory.
        asked: the versions whose answers were asked for afresh, in that order.
        unanswered: how many of the images a version leaves unanswered as production, the last ones, by version.
        kept: whether earlier answers of production are still there.
    """

    found: dict[str, float] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    loads: list[FakeLoad] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    unanswered: dict[str, int] = field(default_factory=dict)
    kept: bool = True
    resamples: int = 200

    @override
    def sample_images(self, count: int) -> list[Path]:
        """There are no files."""
        return [Path(f"leaf-{number}.jpg") for number in range(count)]

    @override
    def tests(self, release: ReleaseEndpoint, log: Log) -> list[TestRow]:
        """One row."""
        detail = self.broken.get(release.ref.version, "")
        log(f"tested version {release.ref.version}")
        return [TestRow(name="answers", passed=not detail, detail=detail or "as it should", seconds=0.1)]

    @override
    def answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> Matches:
        """One object an image, found or not; other versions miss other images."""
        if fresh:
            self.asked.append(release.ref.version)
        return self._matches(release, log, fresh=fresh)

    @override
    def production_answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> ProductionAnswers:
        """Earlier ones are there, unless ``kept`` says otherwise."""
        fresh = fresh or not self.kept
        whole = self.answers(release, log, fresh=fresh)
        unanswered = self.unanswered.get(release.ref.version, 0) if fresh else 0
        if not unanswered:
            return ProductionAnswers(whole)
        if self.kept and unanswered > TOLERATED_UNANSWERED * IMAGES:
            return ProductionAnswers(whole, unanswered, "status 503", kept=True)
        answered = whole.image < IMAGES - unanswered
        found = {name: getattr(whole, name)[answered] for name in ("image", "klass", "score", "hit")}
        missed = np.arange(IMAGES) >= IMAGES - unanswered
        return ProductionAnswers(replace(whole, **found, unanswered=missed), unanswered, "status 503")

    def _matches(self, release: ReleaseEndpoint, log: Log, *, fresh: bool) -> Matches:
        log(f"version {release.ref.version} answered{' afresh' if fresh else ''}")
        share = self.found.get(release.ref.version, 0.9)
        draws = np.random.default_rng(sum(release.ref.version.encode())).random(IMAGES)
        return matches(draws < share)

    @contextmanager
    @override
    def probe(self, url: str, token: str = "") -> Iterator[FakeLoad]:
        load = FakeLoad(url, token)
        self.loads.append(load)
        try:
            yield load
        finally:
            self.loads.remove(load)


def matches(hit: NDArray[np.bool_]) -> Matches:
    """The answers about ``IMAGES`` images with one object each, found or not."""
    images = np.arange(IMAGES)
    return Matches(
        names=tuple(f"leaf-{number}.jpg" for number in images),
        class_names=("streak",),
        truths=np.ones((IMAGES, 1), np.int64),
        image=images,
        klass=np.zeros(IMAGES, np.int64),
        score=np.full(IMAGES, 0.5),
        hit=hit,
    )

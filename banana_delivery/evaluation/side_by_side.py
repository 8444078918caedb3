"""How fast a candidate answers beside what serves: both asked for the same images, one right after the other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

import httpx

from banana_delivery.errors import UnansweredError
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.evaluation.client import timed_upload
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.names import DIGEST_HEADER
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.performance import PerformanceMargins, SpeedRound, judge_speed

ROUNDS = 12
LEAST_ROUNDS = 8
"""Asked even where that takes longer than it should."""
MOST_IMAGES = 4
"""Of a round."""
TIMEOUT_SECONDS = 15.0
NAME = "is as fast as production"


def beside(
    candidate: ReleaseEndpoint,
    production: ReleaseEndpoint,
    images: Sequence[LabelledImage],
    margins: PerformanceMargins,
    *,
    seconds: float = 15.0,
) -> TestRow:
    """Ask both in turn and judge.

    That one does not answer is no slowness: other tests have asked the candidate, and production is not judged here.

    Args:
        candidate: the release in staging.
        production: what serves.
        images: sent in turn.
        margins: of the policy.
        seconds: that the rounds should take.
    """
    started = time.perf_counter()
    own = httpx.create_ssl_context()
    with (
        httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, verify=own) as ours,
        httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, verify=own) as theirs,
    ):
        try:
            sides = _Side(ours, candidate, "the candidate"), _Side(theirs, production, "production")
            found = judge_speed(list(_rounds(*sides, images, seconds)), margins)
            passed, detail = found.passed, found.reason
        except UnansweredError as fault:
            passed, detail = True, f"{fault}, so that the absolute limits count alone"
    return TestRow(name=NAME, passed=passed, detail=detail, seconds=time.perf_counter() - started)


class _Side:
    """One of the two, and a connection of its own that stays open."""

    def __init__(self, client: httpx.Client, release: ReleaseEndpoint, name: str) -> None:
        self._client, self._release, self._name = client, release, name

    def ask(self, images: Sequence[LabelledImage]) -> tuple[float, ...]:
        """Seconds of each answer.

        Raises:
            UnansweredError: if none came, or another release's.
        """
        return tuple(self._seconds(image) for image in images)

    def _seconds(self, image: LabelledImage) -> float:
        try:
            answer, seconds = timed_upload(self._client, self._release.url, image)
        except httpx.HTTPError as error:
            raise UnansweredError(f"{self._name} did not answer ({type(error).__name__})") from error
        if answer.status_code != httpx.codes.OK:
            raise UnansweredError(f"{self._name} answered status {answer.status_code}")
        if answer.headers.get(DIGEST_HEADER) != self._release.ref.digest:
            raise UnansweredError(f"another release answered as {self._name}")
        return seconds


def _rounds(ours: _Side, theirs: _Side, images: Sequence[LabelledImage], seconds: float) -> Iterator[SpeedRound]:
    """Rounds of so many images that they fit into the seconds; which side is first alternates."""
    # The first answers open connections and wake up caches, and tell how long an answer takes.
    warm = ours.ask(images[:2])[-1] + theirs.ask(images[:2])[-1]
    size = min(MOST_IMAGES, max(1, int(seconds / ROUNDS / warm)))
    deadline, turns = time.perf_counter() + seconds, itertools.cycle(images)
    for number in range(ROUNDS):
        if number >= LEAST_ROUNDS and time.perf_counter() > deadline:
            return
        chosen = tuple(itertools.islice(turns, size))
        if number % 2:
            production = theirs.ask(chosen)
            yield SpeedRound(candidate=ours.ask(chosen), production=production)
        else:
            candidate = ours.ask(chosen)
            yield SpeedRound(candidate=candidate, production=theirs.ask(chosen))

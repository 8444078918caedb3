"""How fast a candidate answers beside what serves: both asked for the same images, one right after the other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import httpx

from banana_delivery.errors import UnansweredError
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.evaluation.client import timed_upload
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.names import DIGEST_HEADER
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.performance import LEAST_ROUNDS as JUDGED_ROUNDS
from banana_delivery.policy.performance import PerformanceMargins, SpeedRound, judge_speed

ROUNDS = 12
LEAST_ROUNDS = 8
"""Asked even where that takes longer than it should."""
MOST_IMAGES = 4
"""Of a round."""
MORE_ROUNDS, TIMES_LONGER = 24, 3
"""Where the candidate seems too slow and that is not proven, as on a busy machine, and how much longer these take."""
TIMEOUT_SECONDS = 15.0
PAUSE_SECONDS = 0.5
"""Before a round that was not answered is asked again: users keep production busy, and replicas are replaced."""
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
    Nor does it hide any: such a round is asked again while there is time, and those that were answered are judged.

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
            rounds, missed = _rounds(*sides, images, seconds, LEAST_ROUNDS, ROUNDS)
            if missed and len(rounds) < JUDGED_ROUNDS:
                raise missed
            found = judge_speed(rounds, margins)
            if found.doubtful:
                more, missed_then = _rounds(*sides, images, TIMES_LONGER * seconds, 0, MORE_ROUNDS)
                found, missed = judge_speed(rounds + more, margins), missed_then or missed
            passed, detail = found.passed, f"{found.reason}{f'; not counted is that {missed}' if missed else ''}"
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


def _rounds(
    ours: _Side, theirs: _Side, images: Sequence[LabelledImage], seconds: float, least: int, most: int
) -> tuple[list[SpeedRound], UnansweredError | None]:
    """Rounds of so many images that they fit into the seconds, and why the last one of those that are missing is."""
    deadline, turns = time.perf_counter() + seconds, itertools.cycle(images)
    found: list[SpeedRound] = []
    missed: UnansweredError | None = None
    size = 0
    while len(found) < most and (len(found) < least or time.perf_counter() < deadline):
        try:
            size = size or _fitting(ours, theirs, images, seconds / most)
            found.append(_round(ours, theirs, tuple(itertools.islice(turns, size)), len(found)))
        except UnansweredError as fault:
            missed = fault
            if time.perf_counter() > deadline:
                break
            time.sleep(PAUSE_SECONDS)
    return found, missed


def _fitting(ours: _Side, theirs: _Side, images: Sequence[LabelledImage], seconds: float) -> int:
    """How many images of a round fit into its seconds; the first answers also open connections and wake up caches."""
    warm = ours.ask(images[:2])[-1] + theirs.ask(images[:2])[-1]
    return min(MOST_IMAGES, max(1, int(seconds / warm)))


def _round(ours: _Side, theirs: _Side, images: Sequence[LabelledImage], number: int) -> SpeedRound:
    """Both asked, one right after the other; which is first alternates."""
    if number % 2:
        production = theirs.ask(images)
        return SpeedRound(candidate=ours.ask(images), production=production)
    candidate = ours.ask(images)
    return SpeedRound(candidate=candidate, production=theirs.ask(images))

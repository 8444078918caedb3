"""Two services asked in turn."""

from __future__ import annotations

import socket

import pytest

from banana_delivery.evaluation import side_by_side
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.side_by_side import beside
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.model import ImageRef
from banana_delivery.policy.performance import LEAST_ROUNDS, PerformanceMargins, SpeedRound, SpeedVerdict
from tests.unit.evaluation.leaf_service import DIGEST, VERSION, LeafService, running

GENEROUS = PerformanceMargins(latency_ratio=50, throughput_ratio=0.02)
"""So that no busy machine fails an equal one here."""


@pytest.fixture(autouse=True)
def _few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "MOST_IMAGES", 1)


def at(service: LeafService | str) -> ReleaseEndpoint:
    url = service if isinstance(service, str) else service.url
    return ReleaseEndpoint(url, ImageRef(repository="banana", digest=DIGEST, version=VERSION, key="key"))


def ask(ours: LeafService | str, theirs: LeafService | str, leaves: list[LabelledImage]) -> TestRow:
    return beside(at(ours), at(theirs), leaves, GENEROUS, seconds=0.01)


def test_both_are_asked_as_often_and_an_equal_one_passes(leaves: list[LabelledImage]) -> None:
    with running() as ours, running() as theirs:
        row = ask(ours, theirs, leaves)
    assert row.passed, row.detail
    assert ours.asked == theirs.asked >= side_by_side.LEAST_ROUNDS
    assert "production's answer time" in row.detail


def test_the_candidates_seconds_are_held_against_the_candidate(
    leaves: list[LabelledImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[SpeedRound] = []

    def judge(rounds: list[SpeedRound], _: PerformanceMargins) -> SpeedVerdict:
        judged.extend(rounds)
        return SpeedVerdict(passed=False, reason="Late.")

    monkeypatch.setattr(side_by_side, "judge_speed", judge)
    with running() as ours, running() as theirs:
        ours.delay = 0.02
        row = ask(ours, theirs, leaves)
    assert (row.passed, row.detail) == (False, "Late.")
    assert min(second for one in judged for second in one.candidate) >= 0.02


@pytest.mark.parametrize("who", ["the candidate", "production"])
@pytest.mark.parametrize("fault", ["status", "another release", "nobody there"])
def test_who_does_not_answer_is_not_called_slow(leaves: list[LabelledImage], fault: str, who: str) -> None:
    with running() as broken, running() as sound, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        broken.always = 500 if fault == "status" else None
        broken.digest = "sha256:" + "2" * 64 if fault == "another release" else DIGEST
        there = f"http://127.0.0.1:{nobody.getsockname()[1]}" if fault == "nobody there" else broken
        row = ask(there, sound, leaves) if who == "the candidate" else ask(sound, there, leaves)
    assert row.passed
    assert who in row.detail
    assert "so that the absolute limits count alone" in row.detail


@pytest.fixture
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is judged is too slow, and nobody pauses."""

    def judge(rounds: list[SpeedRound], _: PerformanceMargins) -> SpeedVerdict:
        return SpeedVerdict(passed=False, reason=f"Late in {len(rounds)} rounds")

    monkeypatch.setattr(side_by_side, "judge_speed", judge)
    monkeypatch.setattr(side_by_side, "PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("_slow")
@pytest.mark.parametrize(("before", "statuses"), [(0, [503]), (9, [503]), (0, [500, 502, 503]), (5, [503] * 8)])
@pytest.mark.parametrize("who", ["the candidate", "production"])
def test_an_answer_that_is_missing_hides_no_slowness(
    leaves: list[LabelledImage], who: str, before: int, statuses: list[int]
) -> None:
    """Users keep production busy and replicas are replaced; a model many times slower passed by one 503."""
    with running() as ours, running() as theirs:
        broken = ours if who == "the candidate" else theirs
        broken.healthy_first, broken.statuses = before, list(statuses)
        row = beside(at(ours), at(theirs), leaves, GENEROUS, seconds=60)
    assert not row.passed
    assert row.detail == f"Late in {side_by_side.ROUNDS} rounds; not counted is that {who} answered status 503"


@pytest.mark.usefixtures("_slow")
def test_a_side_that_goes_away_for_good_is_judged_by_what_it_answered(leaves: list[LabelledImage]) -> None:
    with running() as ours, running() as theirs:
        theirs.healthy_first, theirs.always = 2 + LEAST_ROUNDS, 503
        row = beside(at(ours), at(theirs), leaves, GENEROUS, seconds=2)
        few = 1 + LEAST_ROUNDS
        theirs.healthy_first = theirs.asked + few
        too_few = beside(at(ours), at(theirs), leaves, GENEROUS, seconds=2)
    assert row.detail.startswith(f"Late in {LEAST_ROUNDS} rounds; ")
    assert "so that the absolute limits count alone" in too_few.detail


@pytest.mark.parametrize("proof", [True, False])
def test_where_few_rounds_leave_a_doubt_more_are_asked_once(
    leaves: list[LabelledImage], monkeypatch: pytest.MonkeyPatch, proof: bool
) -> None:
    asked = []

    def judge(rounds: list[SpeedRound], _: PerformanceMargins) -> SpeedVerdict:
        asked.append(len(rounds))
        failed = proof and len(rounds) > side_by_side.ROUNDS
        return SpeedVerdict(passed=not failed, reason="Late.", doubtful=not failed)

    monkeypatch.setattr(side_by_side, "judge_speed", judge)
    with running() as ours, running() as theirs:
        row = beside(at(ours), at(theirs), leaves, GENEROUS, seconds=60)
    assert asked == [side_by_side.ROUNDS, side_by_side.ROUNDS + side_by_side.MORE_ROUNDS]
    assert row.passed is not proof

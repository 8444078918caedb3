"""What is believed when the record and its copy differ, and what a record is rebuilt from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.errors import LostRecordError, TargetError
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import Colour, Environment, ImageRef, RollbackIntent, RolloutRecord
from banana_delivery.targets.restoring import (
    Found,
    KeptRecord,
    Running,
    Traces,
    above,
    kept,
    next_revision,
    parsed,
    rebuilt,
    settled,
)

PRODUCTION, STAGING = Environment.PRODUCTION, Environment.STAGING
BLUE, GREEN, SOLE = Colour.BLUE, Colour.GREEN, Colour.SOLE
NOTHING = Found("nowhere")


def image(version: str) -> ImageRef:
    return ImageRef(repository="r", digest="sha256:" + version * 64, version=version, key="k")


def lying(generation: int, revision: int, **facts: Any) -> Found:
    return Found("there", kept(RolloutRecord(environment=PRODUCTION, generation=generation, **facts), revision))


def running(
    weights: dict[Colour, int], answering: dict[Colour, int], main: Colour | None = None, cold: bool = False
) -> Running:
    """Versions 1 on blue and 2 on green, two replicas each."""
    images = {BLUE: image("1"), GREEN: image("2")}
    replicas = dict.fromkeys(images, 0 if cold else 2)
    digests = {colour: one.digest for colour, one in images.items()}
    return Running(Observed(weights, replicas, digests), images, answering, main)


def test_a_stored_record_comes_back_as_it_was_with_what_a_newer_version_added() -> None:
    newer = RolloutRecord.read({"schema": 99, "environment": "production", "note": "x", "unheard": {"of": 1}})

    found = parsed("there", kept(newer, 7).model_dump_json())

    assert found.record and found.record.told == newer
    assert found.record.told.model_dump(mode="json")["unheard"] == {"of": 1}
    assert (found.record.revision, found.record.schema_number) == (7, 99)


def test_a_record_of_an_earlier_version_is_older_than_any_of_the_same_generation() -> None:
    earlier = parsed("there", RolloutRecord(environment=PRODUCTION, generation=3).model_dump_json())

    assert earlier.record and earlier.record.revision == 0
    assert lying(2, 99).order < earlier.order < lying(3, 1).order


@given(
    st.tuples(st.integers(1, 4), st.integers(0, 4)), st.tuples(st.integers(1, 4), st.integers(0, 4)), st.integers(0, 5)
)
def test_whatever_is_believed_is_the_newest_and_no_stamp_is_above_it(
    first: tuple[int, int], copy: tuple[int, int], stamp: int
) -> None:
    newest = max(first, copy)
    try:
        believed = settled(PRODUCTION, lying(*first), lying(*copy), Traces(stamp))
    except LostRecordError:
        assert newest[0] < stamp
        return
    assert believed.record.order == newest >= (stamp, 0)
    assert believed.is_restored == (copy > first)
    assert (believed.damage is None) == (copy == first)


@pytest.mark.parametrize("traces", [Traces(generation=1), Traces(running=("banana-api-blue",)), Traces(2, ("x",))])
def test_no_record_where_something_of_ours_is_left_is_not_the_first_day(traces: Traces) -> None:
    with pytest.raises(LostRecordError, match="not the first day"):
        settled(PRODUCTION, NOTHING, NOTHING, traces)


@pytest.mark.parametrize(("first", "copy"), [("{", ""), ("", "{"), ("{", "{")])
def test_half_a_record_is_not_the_first_day_either(first: str, copy: str) -> None:
    places = [parsed("there", text) if text else NOTHING for text in (first, copy)]

    with pytest.raises(LostRecordError, match="cannot be read"):
        settled(PRODUCTION, places[0], places[1], Traces())


def test_where_nothing_is_left_it_is_the_first_day() -> None:
    believed = settled(PRODUCTION, NOTHING, NOTHING, Traces())

    assert (believed.record, believed.damage) == (KeptRecord(environment=PRODUCTION), None)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_rebuilt_record_is_of_a_generation_that_nothing_is_above(first: int, copy: int, stamp: int) -> None:
    record = RolloutRecord(environment=PRODUCTION, generation=5, owner="whoever")
    places = lying(first, 3, owner="a run", heartbeat=7.0), lying(copy, 4, owner="a run", heartbeat=7.0)

    base = above(PRODUCTION, record, *places, Traces(stamp))

    assert base.generation == max(first, copy, stamp)
    assert base.owner == ("a run" if max(first, copy) >= stamp else None), "an owner of before cannot live"
    assert next_revision(*places) == 5


@pytest.mark.parametrize(
    ("seen", "active", "weights"),
    [
        (running({BLUE: 0, GREEN: 100}, {BLUE: 2, GREEN: 2}), GREEN, {BLUE: 0, GREEN: 100}),
        (running({BLUE: 80, GREEN: 20}, {BLUE: 2, GREEN: 2}, main=BLUE), BLUE, {BLUE: 80, GREEN: 20}),
        (running({BLUE: 0, GREEN: 0}, {BLUE: 2, GREEN: 2}, main=GREEN), GREEN, {BLUE: 0, GREEN: 100}),
        (running({BLUE: 0, GREEN: 100}, {BLUE: 2, GREEN: 0}, main=BLUE), BLUE, {BLUE: 100, GREEN: 0}),
    ],
    ids=["the router", "mid-shift", "the route is lost", "what has the users is dead"],
)
def test_the_owner_of_the_traffic_is_told_by_what_leads_users_and_has_to_answer(
    seen: Running, active: Colour, weights: dict[Colour, int]
) -> None:
    record = rebuilt(PRODUCTION, seen)

    assert (record.active, record.weights) == (active, weights)
    assert record.live == seen.images[active]
    assert (record.owner, record.candidate, record.previous) == (None, None, None)


@pytest.mark.parametrize(
    "seen",
    [
        running({BLUE: 80, GREEN: 20}, {BLUE: 2, GREEN: 2}),
        running({BLUE: 0, GREEN: 0}, {BLUE: 2}),
        running({BLUE: 100, GREEN: 0}, {GREEN: 2}),
    ],
    ids=["split", "the route is lost", "what has the users is dead"],
)
def test_where_it_cannot_be_told_a_person_has_to_say_so(seen: Running) -> None:
    answers = BLUE if seen.answering.get(BLUE) else GREEN
    with pytest.raises(
        TargetError, match=rf"version 1, \d replicas.*restore --environment production --active {answers}"
    ):
        rebuilt(PRODUCTION, seen)

    assert rebuilt(PRODUCTION, seen, active=answers).active is answers
    if not seen.answering.get(answers.other):
        with pytest.raises(TargetError, match="No replica"):
            rebuilt(PRODUCTION, seen, active=answers.other)


def test_where_nothing_runs_nothing_owns_the_traffic() -> None:
    record = rebuilt(PRODUCTION, running({BLUE: 0, GREEN: 0}, {}, cold=True))

    assert (record.active, record.weights) == (None, {})
    assert record.deployments[GREEN].replicas == 0


def test_stagings_one_colour_owns_its_traffic() -> None:
    seen = Running(Observed({SOLE: 100}, {SOLE: 1}, {}), {SOLE: image("1")}, {SOLE: 1})

    record = rebuilt(STAGING, seen)

    assert (record.active, record.weights) == (SOLE, {SOLE: 100})


def test_an_old_record_adds_what_cannot_be_seen_as_far_as_it_fits() -> None:
    intent = RollbackIntent(bad=image("3"), good=None, colour=None, actor="me", reason="bad", at=1.0)
    seen = running({BLUE: 100, GREEN: 0}, {BLUE: 2, GREEN: 2})
    old = RolloutRecord(
        environment=PRODUCTION, active=GREEN, previous=image("9"), intent=intent, rolled_back="3", owner="dead"
    )

    other = rebuilt(PRODUCTION, seen, old.replace(deployments=rebuilt(PRODUCTION, seen).deployments))
    same = rebuilt(PRODUCTION, seen, old.replace(active=BLUE, deployments=rebuilt(PRODUCTION, seen).deployments))

    assert (other.intent, other.rolled_back, other.previous, other.owner) == (intent, "3", None, None)
    assert (same.intent, same.previous) == (intent, image("9"))

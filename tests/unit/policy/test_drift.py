"""What differs from the record, how many users it costs, where they are safe, and when it is believed and told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.policy.drift import (
    LOOK_AGAIN_SECONDS,
    QUIET_SECONDS,
    RESTART_SECONDS,
    Drift,
    DriftKind,
    DriftMemory,
    News,
    Observed,
    failing,
    find_drift,
    follow,
    news,
    refuge,
)
from banana_delivery.policy.model import Colour, Deployment, Environment, ImageRef, Phase, RolloutRecord

BLUE, GREEN = Colour.BLUE, Colour.GREEN
ONE, TWO, OTHER = ("sha256:" + letter * 64 for letter in "12f")


def image(digest: str, version: str) -> ImageRef:
    return ImageRef(repository="banana", digest=digest, version=version, key="key")


REST = RolloutRecord(
    environment=Environment.PRODUCTION,
    active=GREEN,
    deployments={
        BLUE: Deployment(image=image(ONE, "1"), replicas=2),
        GREEN: Deployment(image=image(TWO, "2"), replicas=3),
    },
    weights={BLUE: 0, GREEN: 100},
)


def seen(**changes: object) -> Observed:
    """What is observed where everything is as recorded, but for some changes."""
    facts: dict[str, object] = {
        "weights": {BLUE: 0, GREEN: 100},
        "replicas": {BLUE: 2, GREEN: 3},
        "digests": {BLUE: ONE, GREEN: TWO},
        "ready": {BLUE: 2, GREEN: 3},
    }
    return Observed(**{**facts, **changes})  # type: ignore[arg-type]


def found(observed: Observed, record: RolloutRecord = REST) -> list[tuple[str, float, bool]]:
    return [(drift.key, round(drift.share, 3), drift.mendable) for drift in find_drift(record, observed)]


def test_what_is_as_recorded_differs_in_nothing() -> None:
    assert found(seen()) == []
    assert found(Observed({}, {}, {}), RolloutRecord(environment=Environment.PRODUCTION)) == []
    assert found(Observed({BLUE: 0, GREEN: 0}, {}, {}), RolloutRecord(environment=Environment.PRODUCTION)) == []


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (seen(replicas={BLUE: 2}, digests={BLUE: ONE}, ready={BLUE: 2}), [("replicas/green", 1.0, True)]),
        (seen(replicas={BLUE: 2, GREEN: 1}, ready={BLUE: 2, GREEN: 1}), [("replicas/green", 0.0, True)]),
        (seen(replicas={BLUE: 2, GREEN: 5}, ready={BLUE: 2, GREEN: 5}), [("replicas/green", 0.0, False)]),
        (seen(ready={BLUE: 2}), [("silent/green", 1.0, True)]),
        (seen(ready={BLUE: 2, GREEN: 2}), [("silent/green", 0.0, True)]),
        (seen(ready={BLUE: 0, GREEN: 3}), [("silent/blue", 0.0, True)]),
        (seen(digests={BLUE: ONE, GREEN: OTHER}), [("digest/green", 0.0, True)]),
        (seen(reported={GREEN: OTHER}, ready={BLUE: 2}), [("silent/green", 0.0, True), ("digest/green", 0.0, True)]),
        (seen(weights={BLUE: 100, GREEN: 0}), [("weights/", 0.0, True)]),
        (seen(weights={BLUE: 0, GREEN: 0}), [("weights/", 1.0, True)]),
        (seen(weights={}), [("weights/", 1.0, True)]),
        (seen(route="It is gone.", weights={}), [("route/", 1.0, True)]),
        (seen(weights={BLUE: 17, GREEN: 3}, ready={GREEN: 3}), [("silent/blue", 0.85, True), ("weights/", 0.0, True)]),
        (seen(weights={BLUE: 50, GREEN: 50}, shares={BLUE: 0.0, GREEN: 100.0}), [("weights/", 0.0, True)]),
    ],
)
def test_each_difference_says_how_many_users_it_costs_and_whether_it_can_be_made_good(
    observed: Observed, expected: list[tuple[str, float, bool]]
) -> None:
    assert found(observed) == expected


def test_users_who_are_sent_to_what_nobody_ever_deployed_fail() -> None:
    alone = REST.replace(deployments={GREEN: REST.deployments[GREEN]})
    assert found(seen(weights={BLUE: 30, GREEN: 70}), alone) == [("weights/", 0.3, True)]


def test_users_who_are_sent_to_a_colour_that_is_meant_to_be_cold_fail_because_of_the_weights() -> None:
    cold = REST.replace(deployments={**REST.deployments, BLUE: REST.deployments[BLUE].replace(replicas=0)})
    observed = seen(weights={BLUE: 100, GREEN: 0}, replicas={BLUE: 0, GREEN: 3}, ready={GREEN: 3})
    assert found(observed, cold) == [("weights/", 1.0, True)]


def test_during_a_delivery_the_recorded_split_is_right_and_at_rest_only_the_active_colour() -> None:
    shifting = REST.replace(owner="run-1", phase=Phase.SHIFTING, weights={BLUE: 40, GREEN: 60})
    split = seen(weights={BLUE: 40, GREEN: 60})
    assert found(split, shifting) == []
    assert found(split, shifting.replace(owner=None, phase=Phase.IDLE)) == [("weights/", 0.0, True)]


def test_a_refuge_answers_is_as_recorded_and_was_not_taken_out() -> None:
    dead = seen(replicas={BLUE: 2}, digests={BLUE: ONE}, ready={BLUE: 2})
    assert refuge(REST, dead) is BLUE
    assert refuge(REST.replace(rolled_back="1"), dead) is None
    assert refuge(REST, seen(ready={})) is None
    assert refuge(REST, seen(ready={BLUE: 2}, digests={BLUE: OTHER, GREEN: TWO})) is None
    assert refuge(REST, seen()) is None
    assert refuge(REST, seen(ready={GREEN: 3})) is None
    assert refuge(REST, seen(weights={})) is GREEN


replicas = st.fixed_dictionaries({}, optional={BLUE: st.integers(0, 4), GREEN: st.integers(0, 4)})
observations = st.builds(
    Observed,
    weights=st.fixed_dictionaries({}, optional={BLUE: st.integers(0, 100), GREEN: st.integers(0, 100)}),
    replicas=replicas,
    digests=st.fixed_dictionaries({}, optional=dict.fromkeys((BLUE, GREEN), st.sampled_from([ONE, TWO, OTHER]))),
    ready=replicas,
    route=st.sampled_from(["", "It is gone."]),
)


@given(observed=observations)
def test_whatever_is_observed_shares_are_shares_and_users_are_sent_only_to_what_answers(observed: Observed) -> None:
    drifts = find_drift(REST, observed)
    assert 0.0 <= failing(drifts) <= 1.0
    assert sum(drift.share for drift in drifts) <= 1.0 + 1e-9
    colour = refuge(REST, observed)
    assert colour is None or observed.ready.get(colour, 0) > 0
    served = sum(observed.share(colour) for colour in Colour if observed.answers(colour) and colour in REST.deployments)
    assert failing(drifts) == pytest.approx(1.0 - served)


EDIT = Drift(kind=DriftKind.WEIGHTS, mendable=True, sentence="The weights differ.")
SILENT = Drift(kind=DriftKind.SILENT, colour=GREEN, share=1.0, mendable=True, settles=RESTART_SECONDS, sentence="-")


def test_a_difference_is_believed_once_it_lasted_by_the_observers_clock() -> None:
    memory = follow(DriftMemory(), [EDIT, SILENT], 1, 1000.0)
    assert memory.believed([EDIT, SILENT]) == ()
    memory = follow(memory, [EDIT, SILENT], 1, 1000.0 + LOOK_AGAIN_SECONDS)
    assert memory.believed([EDIT, SILENT]) == (EDIT,)
    memory = follow(memory, [EDIT, SILENT], 1, 1000.0 + RESTART_SECONDS)
    assert memory.believed([EDIT, SILENT]) == (EDIT, SILENT)


def test_a_difference_that_goes_and_comes_begins_anew() -> None:
    memory = follow(DriftMemory(), [EDIT], 1, 0.0)
    memory = follow(memory, [], 1, 10.0)
    memory = follow(memory, [EDIT], 1, 20.0)
    assert memory.believed([EDIT]) == ()


def test_a_claim_between_two_looks_excuses_an_edit_but_not_silence() -> None:
    memory = follow(DriftMemory(), [EDIT, SILENT], 1, 0.0)
    memory = follow(memory, [EDIT, SILENT], 2, 30.0)
    assert memory.believed([EDIT, SILENT]) == (SILENT,)


@given(steps=st.lists(st.floats(-1e9, 1e9), max_size=6))
def test_a_clock_that_begins_anew_or_jumps_never_makes_one_look_into_two(steps: list[float]) -> None:
    memory = follow(DriftMemory(), [EDIT], 1, 1e6)
    assert memory.believed([EDIT]) == ()
    for now in steps:
        memory = follow(memory, [], 1, now)
    assert follow(memory, [EDIT], 1, 5.0).believed([EDIT]) == ()


def believed(memory: DriftMemory, *drifts: Drift) -> DriftMemory:
    return memory.replace(lasted={drift.key: 1e6 for drift in drifts})


def test_one_and_the_same_is_told_once_when_it_gets_worse_and_when_it_is_over() -> None:
    memory, said = news(believed(DriftMemory(), EDIT), [EDIT], None, 5.0)
    assert (said, memory.since) == (News.FOUND, 5.0)
    memory, said = news(believed(memory, EDIT), [EDIT], [EDIT], 6.0)
    assert said is None
    memory, said = news(believed(memory, EDIT, SILENT), [EDIT, SILENT], [SILENT], 7.0)
    assert (said, memory.told) == (News.WORSE, 1.0)
    memory, said = news(believed(memory, EDIT, SILENT), [EDIT, SILENT], [SILENT], 8.0)
    assert said is None
    memory, said = news(memory, [], None, 9.0)
    assert (said, memory.since) == (News.OVER, None)
    assert news(memory, [], None, 10.0)[1] is None


def test_what_is_undone_again_and_again_is_told_at_doubling_times_until_it_is_quiet() -> None:
    memory, told = DriftMemory(), []
    for _ in range(9):
        memory, said = news(believed(memory, EDIT), [EDIT], (), 5.0)
        told.append(said is News.MADE_GOOD)
    assert told == [True, True, False, True, False, False, False, True, False]
    for look in range(int(QUIET_SECONDS // 60) + 2):
        memory = follow(memory, [], 1, 60.0 * look)
    assert news(believed(memory, EDIT), [EDIT], (), 5.0)[1] is News.MADE_GOOD


def test_a_memory_survives_its_way_through_a_cursor() -> None:
    memory = follow(DriftMemory(since=5.0, told=0.5, times=3), [EDIT], 4, 100.0)
    assert DriftMemory.read_json(memory.model_dump_json()) == memory

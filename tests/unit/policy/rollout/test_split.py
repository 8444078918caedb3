"""Users who do not arrive as they were given away hold a step, and are held against nobody."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout.decision import ActionKind, StepVerdict
from banana_delivery.policy.rollout.traffic.split import ALPHA, Split, log_e_of_split
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, SHIFT_20, USER, WATCH, Scene

TOLD = 300
"""Requests, one by one, over which a false alarm is looked for."""


def ever_held(split: Split, share: float) -> float:
    """The chance that the evidence ever suffices, where each request goes to the candidate by a share; exact."""
    alive, held = [1.0], 0.0
    for whole in range(1, TOLD + 1):
        after = [0.0] * (whole + 1)
        for ours, chance in enumerate(alive):
            after[ours] += chance * (1 - share)
            after[ours + 1] += chance * share
        for ours in range(whole + 1):
            if after[ours] > 1e-12 and log_e_of_split(split, ours, whole - ours) >= -math.log(ALPHA):
                held += after[ours]
                after[ours] = 0.0
        alive = after
    return held


@given(given_share=st.sampled_from([0.01, 0.1, 0.2, 0.5, 0.9, 1.0]), near=st.floats(0, 1), by_connection=st.booleans())
@settings(max_examples=8)
def test_a_share_that_is_near_enough_is_hardly_ever_held(
    given_share: float, near: float, *, by_connection: bool
) -> None:
    split = Split(share=given_share, by_connection=by_connection)
    least, most = split.near
    assert ever_held(split, least + near * (most - least)) <= ALPHA


@pytest.mark.parametrize(("share", "ours", "theirs"), [(0.1, 0, 180), (0.1, 40, 80), (1.0, 150, 30), (0.5, 2, 60)])
def test_what_is_far_from_it_is_seen_within_some_dozen_requests(share: float, ours: int, theirs: int) -> None:
    assert log_e_of_split(Split(share=share), ours, theirs) >= -math.log(ALPHA)


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (0, 10**7), (10**7, 0), (10**7, 10**7)])
def test_the_evidence_is_a_number_whatever_was_counted(ours: int, theirs: int) -> None:
    assert math.isfinite(log_e_of_split(Split(share=0.1), ours, theirs))


def second(scene: Scene, *, with_users: int, others: int = 40) -> StepVerdict:
    """One look, at which all that was asked was answered well."""
    scene.serve(GREEN, USER, with_users)
    scene.serve(BLUE, USER, others)
    scene.serve(GREEN, PROBE, 30)
    scene.serve(BLUE, PROBE, 5)
    return scene.look().verdict


def test_a_replica_that_is_not_behind_the_router_holds_the_step_and_parks_it_at_last() -> None:
    scene = Scene(step=SHIFT_20, split=Split(share=0.2))
    verdicts = [second(scene, with_users=0) for _ in range(int(2 * SHIFT_20.ceiling_seconds))]
    assert set(verdicts[:-1]) == {StepVerdict.CONTINUE}
    assert (verdicts[-1], scene.action().kind) == (StepVerdict.INCONCLUSIVE, ActionKind.PARK)
    assert scene.judgements[-1].reason.startswith(
        "Green got 0 of 3200 user requests in 80 s, where 20 % were meant for it"
    )
    assert "Nothing is held against the version" in scene.judgements[-1].reason
    assert scene.judgements[-1].limit is None


def test_users_who_arrive_at_last_let_the_step_go_on() -> None:
    scene = Scene(step=SHIFT_20, split=Split(share=0.2))
    for _ in range(20):
        assert second(scene, with_users=0) is StepVerdict.CONTINUE
    for _ in range(60):
        if second(scene, with_users=10) is StepVerdict.PASS:
            break
    assert scene.judgements[-1].verdict is StepVerdict.PASS


def test_pinned_connections_hold_it_in_either_direction_and_the_right_share_does_not() -> None:
    for ours, verdict in ((10, StepVerdict.PASS), (2, StepVerdict.CONTINUE), (35, StepVerdict.CONTINUE)):
        scene = Scene(step=SHIFT_20, split=Split(share=0.2))
        seen = [second(scene, with_users=ours) for _ in range(12)]
        assert seen[-1] is verdict


@pytest.mark.parametrize("with_users", [3, 5, 60])
def test_open_connections_that_stay_where_they_are_hold_no_step(with_users: int) -> None:
    scene = Scene(step=SHIFT_20, split=Split(share=0.2, by_connection=True))
    assert [second(scene, with_users=with_users) for _ in range(12)][-1] is StepVerdict.PASS


def test_where_connections_are_shared_out_a_candidate_that_gets_none_is_held() -> None:
    scene = Scene(step=WATCH, split=Split(share=1.0, by_connection=True))
    assert {second(scene, with_users=0) for _ in range(30)} == {StepVerdict.CONTINUE}


def test_who_was_never_told_how_users_are_shared_out_holds_nothing() -> None:
    scene = Scene(step=SHIFT_20)
    assert [second(scene, with_users=0) for _ in range(12)][-1] is StepVerdict.PASS


def test_an_override_goes_on_and_failures_turn_back_a_step_that_is_held() -> None:
    wanted = Scene(step=SHIFT_20, split=Split(share=0.2), overridden=True)
    assert [second(wanted, with_users=0) for _ in range(12)][-1] is StepVerdict.PASS
    failing = Scene(step=SHIFT_20, split=Split(share=0.2))
    for _ in range(10):
        second(failing, with_users=0)
    failing.serve(GREEN, USER, 10, failed=10)
    assert failing.look().verdict is StepVerdict.FAIL

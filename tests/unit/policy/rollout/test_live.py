"""What people see of a step under way: small, true to the counters, and gone when the step is."""

from __future__ import annotations

import json

import pytest

from banana_delivery.policy.model import SCHEMA, Environment, Phase, RolloutRecord
from banana_delivery.policy.rollout.analysis import findings
from banana_delivery.policy.rollout.live import MOST_BYTES, LiveStep, Look, live_of, live_step, step_of
from banana_delivery.policy.rollout.metrics import step_metrics
from banana_delivery.policy.rollout.plan import Limit
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, QUICK, SHIFT_20, SHIFT_100, USER, WATCH, Scene


def seen(scene: Scene, **look: object) -> LiveStep:
    known = {"at": scene.now, "reason": scene.judgements[-1].reason, "weight": scene.step.weight, **look}
    metrics, against = step_metrics(scene.state, GREEN), findings(QUICK, scene.state, GREEN)
    return live_step(QUICK, scene.state, metrics, against, Look.model_validate(known))


def struck(failed: int) -> Scene:
    """A second in which so many of the candidate's 20 user requests failed."""
    scene = Scene()
    scene.serve(GREEN, USER, 20, failed=failed)
    scene.serve(BLUE, USER, 80)
    scene.look()
    return scene


def test_the_look_holds_the_step_its_figures_and_when_it_ends() -> None:
    found = seen(struck(0))
    assert (found.kind, found.weight, found.number, found.steps) == ("shift", 20, 2, 7)
    assert (found.seconds, found.left, found.left_at_most) == (1.0, 39.0, 79.0)
    assert found.left_after == 4 * 40 + 40
    assert (found.candidate.requests, found.candidate.failed, found.active.requests) == (20, 0, 80)
    assert found.candidate.p95_seconds == pytest.approx(0.1, abs=0.05)
    assert found.against == ()
    assert found.strongest is None


def test_the_strongest_evidence_of_each_kind_stands_beside_what_turns_the_candidate_back() -> None:
    weak, strong = ({one.limit: one for one in seen(struck(failed)).against} for failed in (2, 4))
    found = strong[Limit.FAILURES]
    assert (found.source, found.bad, found.judged) == (USER, 4, 20)
    for limit in (Limit.FAILURES, Limit.WORSE_THAN_ACTIVE):
        assert 0 <= weak[limit].share < strong[limit].share < 1.0
    shares = [one.share for one in seen(struck(4)).against]
    assert shares == sorted(shares, reverse=True)


def test_at_the_look_that_turns_the_candidate_back_the_evidence_has_reached_what_is_needed() -> None:
    scene = struck(20)
    strongest = seen(scene).strongest
    assert scene.judgements[-1].verdict == "FAIL"
    assert strongest
    assert strongest.log_e >= strongest.needed


def test_health_grows_with_sound_requests_until_the_step_ends_early() -> None:
    scene, shares = Scene(), []
    for _ in range(8):
        scene.serve(GREEN, PROBE, 40)
        scene.look()
        found = seen(scene)
        shares.append(found.healthy / found.healthy_needed)
    assert shares == sorted(shares)
    assert scene.judgements[-1].verdict == "PASS"
    assert shares[-1] >= 1.0


def test_past_its_first_ceiling_a_step_is_told_to_end_at_the_second() -> None:
    scene = Scene()
    scene.look(seconds=45.0)
    assert (seen(scene).left, seen(scene).left_at_most) == (35.0, 35.0)


def test_the_last_step_before_the_watch_has_only_the_watch_after_it() -> None:
    scene = Scene(step=SHIFT_100)
    scene.look()
    assert (seen(scene).number, seen(scene).left_after) == (6, 40.0)


def test_it_stays_small_whatever_is_said_and_seen() -> None:
    scene = Scene()
    for source in (USER, PROBE):
        scene.serve(GREEN, source, 10**9, failed=10**8, slow=10**8)
    scene.serve(BLUE, USER, 10**9)
    scene.look()
    assert len(seen(scene).against) >= 2
    for letter in ("x", '"', "\\", "ä", "\U0001f34c", "\x07"):
        record = UNDER_WAY.replace(look=seen(scene, reason=letter * 9999, paused=letter * 9999).model_dump_json())
        more = len(record.model_dump_json().encode()) - len(UNDER_WAY.model_dump_json().encode())
        assert more < MOST_BYTES


UNDER_WAY = RolloutRecord(environment=Environment.PRODUCTION, owner="run", phase=Phase.SHIFTING)


def test_what_was_seen_is_read_back_from_the_record_while_the_step_lasts() -> None:
    found = seen(struck(4))
    record = UNDER_WAY.replace(look=found.model_dump_json())
    assert live_of(RolloutRecord.read_json(record.model_dump_json())) == found
    for over in (
        record.replace(owner=None),
        record.replace(phase=Phase.ROLLING_BACK),
        record.replace(look=""),
        record.replace(look="{half"),
    ):
        assert live_of(over) is None


def test_what_a_newer_version_adds_to_it_is_read() -> None:
    newer = {**json.loads(seen(struck(0)).model_dump_json()), "schema": SCHEMA + 1, "mood": "good"}
    found = live_of(UNDER_WAY.replace(look=json.dumps(newer)))
    assert found
    assert found.weight == 20


def test_a_step_whose_users_are_away_for_a_trial_is_that_step_and_no_other() -> None:
    look = seen(struck(20), weight=0).model_dump_json()
    record = RolloutRecord(environment=Environment.PRODUCTION, owner="run", weights={BLUE: 100, GREEN: 0})
    assert step_of(QUICK, record.replace(phase=Phase.SHIFTING, look=look), GREEN) == SHIFT_20
    assert step_of(QUICK, record.replace(weights={GREEN: 100}, owner=None), GREEN) == WATCH

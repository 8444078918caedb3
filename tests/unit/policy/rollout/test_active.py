"""The platform's fault is no candidate's: what both colours suffer in the same seconds turns nobody back."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.active import Part, breaks
from banana_delivery.policy.rollout.analysis import findings
from banana_delivery.policy.rollout.decision import ActionKind, StepVerdict, control_rate, may_begin
from banana_delivery.policy.rollout.plan import Limit, Step, ab_step
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, PROBE, QUICK, SHIFT_20, USER, WATCH, Scene, counters

AB = ab_step(QUICK)


def both(scene: Scene, seconds: int, failed: float = 0.0, slow: float = 0.0, source: str = "user") -> list[StepVerdict]:
    """Both colours do the same for so many seconds; ``source``: by whose requests blue is measured."""
    said = []
    for _ in range(seconds):
        scene.serve(GREEN, USER, 20, failed=round(20 * failed), slow=round(20 * slow))
        scene.serve(GREEN, PROBE, 10, failed=round(10 * failed), slow=round(10 * slow))
        theirs = 80 if source == "user" else 5
        at = USER if source == "user" else PROBE
        scene.serve(BLUE, at, theirs, failed=round(theirs * failed), slow=round(theirs * slow))
        said.append(scene.look().verdict)
    return said


@pytest.mark.parametrize("step", [AB, SHIFT_20, WATCH], ids=["ab", "shift", "watch"])
@pytest.mark.parametrize("trouble", [{"slow": 0.6}, {"failed": 0.4}, {"failed": 1.0}])
def test_what_both_colours_suffer_waits_and_then_is_nobodys_fault(step: Step, trouble: dict[str, float]) -> None:
    scene = Scene(step=step)
    said = both(scene, 80, **trouble, source="probe" if step is WATCH else "user")
    assert set(said[:-1]) == {StepVerdict.CONTINUE}
    assert said[-1] is StepVerdict.TROUBLED
    assert (scene.action().kind, scene.action().weight) == (ActionKind.STAND_BACK, 0)
    assert scene.judgements[-1].limit is None


def test_the_sentence_says_that_production_itself_is_slow_and_what_to_do() -> None:
    scene = Scene()
    both(scene, 80, slow=0.5)
    assert scene.judgements[-1].reason == (
        "Production itself is slow: blue took over 1 s for 400 of 800 user requests within 10 s, more than the 5 % "
        "allowed. Nothing is held against green; see to production, then deliver again, or override if this release "
        "is what mends it."
    )


def test_both_turning_requests_away_is_nobodys_fault() -> None:
    scene = Scene()
    for second in range(1, 81):
        scene.backends["green/user"] = counters(20 * second, overloads=10 * second)
        scene.backends["blue/user"] = counters(80 * second, overloads=40 * second)
        scene.look()
    assert {one.verdict for one in scene.judgements[:-1]} == {StepVerdict.CONTINUE}
    assert scene.judgements[-1].verdict is StepVerdict.TROUBLED
    assert scene.judgements[-1].reason.startswith("Production itself turns requests away: blue turned away ")


@pytest.mark.parametrize("active", [0, 1, 3, 80])
def test_a_healthy_active_release_saves_no_failing_candidate_for_a_second(active: int) -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 3, failed=3)
    scene.serve(BLUE, USER, active)
    assert scene.look().verdict is StepVerdict.FAIL


@pytest.mark.parametrize("limit", [Limit.FAILURES, Limit.SLOW])
def test_one_stray_fault_of_the_active_release_excuses_no_candidate(limit: Limit) -> None:
    stray = {"failed": 1} if limit is Limit.FAILURES else {"slow": 1}
    many = {"failed": 20} if limit is Limit.FAILURES else {"slow": 20}
    scene = Scene()
    scene.serve(GREEN, USER, 20, **many)
    scene.serve(BLUE, USER, 9, **stray)
    assert (scene.look().verdict, scene.judgements[-1].limit) == (StepVerdict.FAIL, limit)


def test_a_slow_platform_excuses_no_failures() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 20, failed=20)
    scene.serve(BLUE, USER, 80, slow=40)
    assert scene.look().limit is Limit.FAILURES


def test_with_few_users_a_single_answer_of_the_active_release_tells_that_it_is_slow_too() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 3, slow=3)
    scene.serve(BLUE, PROBE, 1, slow=1)
    assert scene.look().verdict is StepVerdict.CONTINUE


@pytest.mark.parametrize("later", [0, 1])
def test_a_fault_that_is_counted_a_poll_sooner_on_the_active_release_is_the_same_fault(later: int) -> None:
    scene = Scene()
    scene.serve(BLUE, USER, 80, failed=80)
    if later:
        scene.look()
        scene.serve(BLUE, USER, 80)
    scene.serve(GREEN, USER, 20, failed=20)
    assert scene.look().verdict is StepVerdict.CONTINUE


def test_after_an_outage_that_both_suffered_the_candidates_own_fault_counts_within_two_seconds() -> None:
    scene = Scene()
    assert set(both(scene, 5, failed=1.0)) == {StepVerdict.CONTINUE}
    for _ in range(2):
        scene.serve(GREEN, USER, 10, failed=10)
        scene.serve(BLUE, USER, 80)
        judgement = scene.look()
    assert judgement.limit is Limit.FAILURES
    assert judgement.reason.startswith(
        "Green failed 10 of 10 user requests at 20 %, 110 left out that blue broke it with (log E "
    )


@given(looks=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 100)), min_size=1, max_size=12))
@settings(max_examples=40)
def test_what_is_not_held_against_the_candidate_leaves_no_more_evidence_than_there_was(
    looks: list[tuple[int, int, int]],
) -> None:
    """Otherwise the bound on false alarms would not hold: what is left out depends on what was counted."""
    scene = Scene()
    for bad, good, theirs in looks:
        scene.serve(GREEN, USER, bad + good, failed=bad)
        scene.serve(BLUE, USER, 100, failed=theirs)
        scene.look()
    whole = scene.state.windows[0].of(USER)
    most = e_values.log_e_too_many_errors(whole.failed, whole.accepted - whole.failed, QUICK.error_threshold)
    since_the_beginning = [one for one in findings(QUICK, scene.state, GREEN) if one.source is USER and not one.window]
    assert all(one.log_e <= most + 1e-9 for one in since_the_beginning if one.limit is Limit.FAILURES)


def test_after_an_outage_that_both_suffered_a_sound_candidate_passes() -> None:
    scene = Scene()
    both(scene, 5, failed=1.0)
    assert both(scene, 35)[-1] is StepVerdict.PASS


def test_where_production_fails_and_the_candidate_does_not_the_candidate_is_the_mend() -> None:
    scene = Scene()
    for _ in range(10):
        scene.serve(GREEN, USER, 20)
        scene.serve(BLUE, USER, 80, failed=40)
        scene.look()
    assert StepVerdict.PASS in {one.verdict for one in scene.judgements}


def test_where_production_gives_no_sign_of_life_any_more_the_candidate_goes_on() -> None:
    scene = Scene(digests={"green": DIGEST, "blue": "sha256:cc"})
    scene.serve(BLUE, USER, 80)
    scene.look()
    scene.digests = {"green": DIGEST}
    for _ in range(20):
        scene.serve(GREEN, USER, 20)
        scene.look()
    assert scene.judgements[-1].verdict is StepVerdict.PASS


@pytest.mark.parametrize("overridden", [False, True])
def test_where_production_is_slow_alone_only_a_persons_word_goes_on(overridden: bool) -> None:
    scene = Scene(overridden=overridden)
    for _ in range(80):
        scene.serve(GREEN, USER, 20)
        scene.serve(BLUE, USER, 80, slow=40)
        if scene.look().verdict is not StepVerdict.CONTINUE:
            break
    assert scene.judgements[-1].verdict is (StepVerdict.PASS if overridden else StepVerdict.TROUBLED)
    assert len(scene.judgements) == (7 if overridden else 80)


def test_a_persons_word_excuses_no_fault_of_the_candidate() -> None:
    scene = Scene(overridden=True)
    scene.serve(GREEN, USER, 20, failed=20)
    scene.serve(BLUE, USER, 80)
    assert scene.look().verdict is StepVerdict.FAIL


@pytest.mark.parametrize(
    ("active", "candidate", "begins"),
    [
        ({}, {}, True),
        ({"slow": 40}, {}, False),
        ({"failed": 40}, {}, True),
        ({"failed": 40}, {"failed": 5}, False),
        ({"slow": 40}, {"slow": 5}, False),
        ({"failed": 1}, {"failed": 5}, True),
    ],
)
def test_a_step_begins_only_while_production_keeps_its_limits_or_is_what_has_to_be_mended(
    active: dict[str, int], candidate: dict[str, int], begins: bool
) -> None:
    scene = Scene(step=AB)
    scene.serve(BLUE, USER, 80, **active)
    scene.serve(GREEN, PROBE, 10, **candidate)
    scene.look()
    assert (may_begin(QUICK, scene.state, GREEN) == "") is begins
    assert may_begin(QUICK, scene.state, GREEN, overridden=True) == ""


def test_production_is_probed_as_the_candidate_is_whether_its_users_are_few_or_many() -> None:
    quiet, busy = Scene(), Scene()
    assert control_rate(quiet.state) > 0
    for _ in range(5):
        quiet.serve(BLUE, USER, 1)
        busy.serve(BLUE, USER, 80)
        quiet.look()
        busy.look()
    assert control_rate(quiet.state) > 0
    assert control_rate(busy.state) == control_rate(quiet.state)


@pytest.mark.parametrize(
    ("bad", "judged", "rate", "found"),
    [
        (0, 0, 1.0, False),
        (0, 5, 1.0, False),
        (1, 1, 1.0, True),
        (1, 2, 1.0, False),
        (2, 2, 0.5, True),
        (1, 10, 0.9, False),
        (20, 100, 0.9, True),
        (5, 100, 0.06, False),
        (6, 100, 0.06, True),
    ],
)
def test_the_active_release_breaks_a_limit_if_its_own_requests_say_so(
    bad: int, judged: int, rate: float, found: bool
) -> None:
    assert breaks(Part(bad=bad, judged=judged), 0.05, rate) is found


SECONDS = st.lists(
    st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 6), st.integers(0, 3), st.integers(1, 20)),
    min_size=1,
    max_size=14,
)


@given(traffic=SECONDS, other=st.sampled_from([USER, PROBE]))
@example(traffic=[(0, 0, 0, 0, 20)] * 5 + [(10, 0, 6, 3, 1)] * 5, other=USER)
@settings(max_examples=60)
def test_a_candidate_that_does_as_the_active_release_in_every_second_is_never_turned_back(
    traffic: list[tuple[int, int, int, int, int]], other: TrafficSource
) -> None:
    """Whatever both do, and however many requests each of them gets; shares are tenths."""
    scene = Scene()
    for failed, slow, users, probes, active in traffic:
        bad = {"failed": failed, "slow": min(slow, 10)}
        for colour, source, tens in ((GREEN, USER, users), (GREEN, PROBE, probes), (BLUE, other, active)):
            scene.serve(colour, source, 10 * tens, **{name: share * tens for name, share in bad.items()})
        assert scene.look().verdict is not StepVerdict.FAIL


@given(traffic=SECONDS, healthy=st.integers(1, 200))
@settings(max_examples=40)
def test_beside_a_healthy_active_release_every_verdict_is_as_it_is_alone(
    traffic: list[tuple[int, int, int, int, int]], healthy: int
) -> None:
    alone, beside = Scene(), Scene()
    for failed, slow, users, probes, _ in traffic:
        for scene in (alone, beside):
            scene.serve(GREEN, USER, 10 * users, failed=failed * users, slow=slow * users)
            scene.serve(GREEN, PROBE, 10 * probes, failed=failed * probes, slow=slow * probes)
        beside.serve(BLUE, PROBE, healthy)
        assert beside.look().verdict == alone.look().verdict


@given(spread=st.lists(st.integers(0, 40), min_size=8, max_size=20), pinned=st.booleans())
@settings(max_examples=30)
def test_clients_that_break_their_uploads_off_turn_nobody_back_however_many_they_are(
    spread: list[int], pinned: bool
) -> None:
    """Up to two thirds of all that is sent, even if all of it is meant for the candidate."""
    scene, broken = Scene(), 0
    for more in spread:
        broken += more
        scene.serve(GREEN, USER, 20)
        scene.serve(BLUE, USER, 80)
        scene.backends["green/user"] = scene.backends["green/user"].replace(unfinished=broken)
        if not pinned:
            scene.backends["blue/user"] = scene.backends["blue/user"].replace(unfinished=4 * broken)
        assert scene.look().verdict in {StepVerdict.CONTINUE, StepVerdict.PASS}


def test_uploads_that_only_the_candidates_clients_break_off_keep_a_step_from_ending_early_and_no_longer() -> None:
    scene = Scene()
    for second in range(40):
        scene.serve(GREEN, USER, 20)
        scene.serve(BLUE, USER, 80)
        scene.backends["green/user"] = scene.backends["green/user"].replace(unfinished=second)
        scene.look()
    assert {one.verdict for one in scene.judgements[:-1]} == {StepVerdict.CONTINUE}
    assert scene.judgements[-1].verdict is StepVerdict.PASS
    assert "(39 uploads that their clients broke off apart)" in scene.judgements[-1].reason

import pytest

from banana_delivery.policy.model import Counters
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.decision import Action, ActionKind, StepVerdict, assess_step
from banana_delivery.policy.rollout.plan import Limit, StepKind, ab_step, release_steps
from tests.unit.policy.rollout.scene import (
    BLUE,
    DIGEST,
    GREEN,
    PROBE,
    QUICK,
    SHIFT_20,
    SHIFT_100,
    USER,
    WATCH,
    Scene,
    counters,
)


def test_failing_user_requests_turn_the_candidate_back_with_the_numbers_in_one_sentence() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 12, failed=7)
    judgement = scene.look()
    assert judgement.verdict is StepVerdict.FAIL
    assert judgement.limit is Limit.FAILURES
    assert judgement.reason == (
        "Green failed 7 of 12 user requests at 20 % (log E 12.0 >= 7.5): more than the 5 % allowed."
    )
    assert scene.action().kind is ActionKind.ROLL_BACK
    assert scene.action().weight == 0


def test_the_probe_alone_may_turn_the_candidate_back() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 400)
    scene.serve(GREEN, PROBE, 5, failed=5)
    assert "5 of 5 probe requests" in scene.look().reason
    assert scene.judgements[-1].verdict is StepVerdict.FAIL


def test_strata_are_judged_alone_so_that_many_good_probes_do_not_excuse_bad_users() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 8, failed=5)
    scene.serve(GREEN, PROBE, 5000)
    assert scene.look().verdict is StepVerdict.FAIL


def test_two_failures_are_never_evidence() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 2, failed=2)
    scene.serve(GREEN, PROBE, 2, failed=2)
    assert scene.look().verdict is StepVerdict.CONTINUE


def test_rollback_beats_healthy() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 5000)
    scene.serve(GREEN, PROBE, 6, failed=6)
    assert scene.look(seconds=SHIFT_20.ceiling_seconds).verdict is StepVerdict.FAIL


def test_slow_answers_turn_the_candidate_back() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 60, slow=30)
    judgement = scene.look()
    assert judgement.limit is Limit.SLOW
    assert judgement.reason.startswith("Green took over 1 s for 30 of 60 user requests at 20 % (log E ")


def test_overload_has_a_limit_of_its_own_and_is_no_failure() -> None:
    scene = Scene()
    scene.backends["green/user"] = counters(200, overloads=100)
    judgement = scene.look()
    assert judgement.limit is Limit.OVERLOAD
    assert judgement.metrics.failed == 0


def test_overloads_do_not_dilute_the_failures() -> None:
    scene = Scene()
    scene.backends["green/user"] = counters(14, failed=6, overloads=2)
    assert scene.look().reason.startswith("Green failed 6 of 12 user requests")
    assert scene.judgements[-1].verdict is StepVerdict.FAIL


def test_a_candidate_within_the_limit_but_far_worse_than_the_active_is_turned_back() -> None:
    scene = Scene()
    for _ in range(20):
        scene.serve(GREEN, USER, 20)
        scene.serve(BLUE, USER, 80)
        scene.look()
    assert {judgement.limit for judgement in scene.judgements} == {None}
    for _ in range(10):
        scene.serve(GREEN, USER, 19)
        scene.serve(GREEN, USER, 1, failed=1)
        scene.serve(BLUE, USER, 80)
        scene.look()
    judgement = next(each for each in scene.judgements if each.verdict is StepVerdict.FAIL)
    assert judgement.limit is Limit.WORSE_THAN_ACTIVE
    assert "with 20 % of the traffic" in judgement.reason
    assert "more often than blue" in judgement.reason


def test_an_outage_that_both_colours_share_below_the_limit_turns_nobody_back() -> None:
    scene = Scene()
    for _ in range(39):
        scene.serve(GREEN, USER, 50, failed=2)
        scene.serve(BLUE, USER, 200, failed=8)
        assert scene.look().verdict is not StepVerdict.FAIL


def test_a_healthy_candidate_ends_the_step_early_but_never_before_its_minimum() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 500)
    assert scene.look().verdict is StepVerdict.CONTINUE
    assert scene.look(seconds=4).verdict is StepVerdict.PASS
    assert scene.judgements[-1].reason == (
        "Green failed 0 of 500 user requests and 0 of 0 probe requests at 20 % in 5 s: "
        "healthy, so the step ended early."
    )


def test_a_fault_that_seems_to_begin_keeps_a_healthy_step_from_ending_early() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 2000)
    scene.look(seconds=4)
    scene.serve(GREEN, PROBE, 2, failed=2)
    assert scene.look().verdict is StepVerdict.CONTINUE
    scene.serve(GREEN, PROBE, 60)
    assert scene.look().verdict is StepVerdict.PASS


def test_without_evidence_a_step_passes_at_its_ceiling_if_the_sample_was_seen() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 140, failed=6)
    assert scene.look(seconds=39).verdict is StepVerdict.CONTINUE
    assert scene.look().verdict is StepVerdict.PASS
    assert scene.judgements[-1].reason.endswith("no evidence against it when the step's time was over.")


def test_too_small_a_sample_waits_one_more_ceiling_and_then_parks() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 12)
    scene.serve(GREEN, PROBE, 40)
    assert scene.look(seconds=40).verdict is StepVerdict.CONTINUE
    assert scene.look(seconds=39).verdict is StepVerdict.CONTINUE
    assert scene.look().verdict is StepVerdict.INCONCLUSIVE
    assert scene.judgements[-1].reason == (
        "Green had 12 user and 40 probe requests with known latency at 20 % in 80 s: "
        "too few to judge, one kind needs 130."
    )
    assert scene.action().kind is ActionKind.PARK
    assert scene.action().weight == 0


def test_a_sample_that_comes_while_waiting_ends_the_wait() -> None:
    scene = Scene()
    scene.look(seconds=50)
    scene.serve(GREEN, USER, 130)
    assert scene.look().verdict is StepVerdict.PASS


def test_requests_whose_latency_nobody_reported_are_no_sample() -> None:
    scene = Scene()
    scene.backends["green/user"] = Counters(requests=5000)
    scene.look(seconds=40)
    assert scene.look(seconds=40).verdict is StepVerdict.INCONCLUSIVE


def test_another_release_than_meant_is_never_judged_as_if_it_were_meant() -> None:
    scene = Scene(digests={"green": f"sha256:{'b' * 64}"})
    scene.serve(GREEN, USER, 500)
    judgement = scene.look(seconds=10)
    assert (judgement.verdict, judgement.wrong_release, judgement.limit) == (StepVerdict.FAIL, True, None)
    assert judgement.reason == "Green runs sha256:bbbbbbbbbbbb, not sha256:aaaaaaaaaaaa: another release was measured."
    assert (scene.action().kind, scene.action().wrong_release) == (ActionKind.ROLL_BACK, True)


def test_a_release_that_does_not_say_which_it_is_cannot_pass() -> None:
    scene = Scene(digests={})
    scene.serve(GREEN, USER, 500)
    assert scene.look(seconds=40).verdict is StepVerdict.CONTINUE
    assert scene.look(seconds=40).verdict is StepVerdict.INCONCLUSIVE
    assert "did not report which release it runs" in scene.judgements[-1].reason


def test_a_release_without_a_trace_of_life_is_turned_back_though_no_failure_was_counted() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 20)
    scene.look()
    scene.digests = {"blue": "sha256:cc"}
    assert [scene.look().verdict for _ in range(3)] == [StepVerdict.CONTINUE, StepVerdict.CONTINUE, StepVerdict.FAIL]
    judgement = scene.judgements[-1]
    assert (judgement.limit, judgement.wrong_release, scene.action().kind) == (None, False, ActionKind.ROLL_BACK)
    assert judgement.reason == (
        "Green gave no sign of life at 3 looks in a row at 20 %: no replica reported, and none answered a request."
    )


@pytest.mark.parametrize("sign", ["a report", "a request"])
def test_a_sign_of_life_ends_the_silence(sign: str) -> None:
    others = {"blue": "sha256:cc"}
    scene = Scene(digests=others)
    for _ in range(4):
        scene.look()
        scene.look()
        scene.digests = {"green": DIGEST, **others} if sign == "a report" else others
        if sign == "a request":
            scene.serve(GREEN, USER, 1)
        assert scene.look().verdict is StepVerdict.CONTINUE
        scene.digests = others


def test_a_place_that_tells_nothing_of_anybody_speaks_against_nobody() -> None:
    scene = Scene(digests={})
    assert {scene.look().verdict for _ in range(8)} == {StepVerdict.CONTINUE}


def test_what_the_colour_did_before_the_step_is_not_held_against_it() -> None:
    scene = Scene(backends={"green/user": counters(1000, failed=1000)})
    scene.serve(GREEN, USER, 200)
    judgement = scene.look(seconds=6)
    assert judgement.verdict is StepVerdict.PASS
    assert (judgement.metrics.requests, judgement.metrics.failed) == (200, 0)


@pytest.mark.parametrize("zero", [-1e6, 0.0, 1.7e9])
def test_a_step_goes_on_where_it_was_when_another_meter_with_a_clock_of_its_own_is_read(zero: float) -> None:
    """As after a restart of the process that looks, or of its machine: an earlier one dated its looks, too."""
    scene = Scene()
    for _ in range(5):
        scene.look()
    lasted = scene.state.seconds
    assert lasted == 5.0

    scene.meter, scene.now = "after a restart", zero
    scene.look()
    assert scene.state.seconds == pytest.approx(lasted)
    scene.look()

    assert scene.state.seconds == pytest.approx(lasted + 1.0)


def test_figures_of_another_meter_are_a_new_start_and_no_news() -> None:
    scene = Scene(backends={"green/user": counters(5000, failed=900)})
    scene.meter = "after a restart"
    scene.backends["green/user"] = counters(4000, failed=800)

    scene.look()
    assert scene.state.totals["green/user"].requests == 0

    scene.serve(GREEN, USER, 3, failed=1)
    scene.look()
    assert (scene.state.totals["green/user"].requests, scene.state.totals["green/user"].failed) == (3, 1)


def test_a_restarted_router_is_counted_from_zero() -> None:
    scene = Scene(backends={"green/user": counters(1000, failed=90)})
    scene.serve(GREEN, USER, 20)
    scene.look()
    scene.backends["green/user"] = counters(12, failed=12)
    judgement = scene.look()
    assert judgement.reason.startswith("Green failed 12 of 32 user requests")


def test_a_look_that_misses_a_backend_or_its_latency_counts_nothing_twice() -> None:
    scene = Scene(backends={"green/user": counters(1000)})
    seen = scene.backends["green/user"]
    del scene.backends["green/user"]
    scene.look()
    scene.backends["green/user"] = seen.replace(latency={})
    scene.look()
    scene.backends["green/user"] = seen
    scene.serve(GREEN, USER, 10)
    assert scene.look().metrics.requests == 10
    assert scene.state.windows[0].of(USER).answered == 10


@pytest.mark.parametrize(("healthy_seconds", "failures"), [(0, 3), (20, 5), (29, 5), (35, 5)])
def test_a_fault_that_starts_late_is_found_by_the_latest_restart(healthy_seconds: int, failures: int) -> None:
    scene = Scene(step=WATCH.replace(minimum_seconds=WATCH.ceiling_seconds))
    for _ in range(healthy_seconds):
        scene.serve(GREEN, USER, 100)
        assert scene.look().verdict is StepVerdict.CONTINUE
    straight = 0
    while scene.look(seconds=0.01).verdict is not StepVerdict.FAIL:
        scene.serve(GREEN, USER, 1, failed=1)
        straight += 1
    assert straight == failures
    assert ("latest" in scene.judgements[-1].reason) == (healthy_seconds > 0)


def test_the_figures_tell_candidate_and_active_users_and_probe_apart() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 100, failed=1)
    scene.serve(GREEN, PROBE, 50, slow=2)
    scene.serve(BLUE, USER, 400)
    metrics = scene.look().metrics
    assert (metrics.kind, metrics.weight, metrics.seconds) == (StepKind.SHIFT, 20, 1.0)
    assert (metrics.requests, metrics.failed, metrics.active.requests) == (150, 1, 400)
    assert (metrics.sources[USER].requests, metrics.sources[PROBE].requests) == (100, 50)
    assert metrics.p95_seconds == pytest.approx(0.1 * 142.5 / 148)


def test_steps_follow_each_other_until_the_watch_promotes() -> None:
    weights, step = [], release_steps(QUICK)[0]
    while True:
        scene = Scene(step=step)
        scene.serve(GREEN, USER, 200)
        scene.look(seconds=10)
        action = scene.action()
        if action.step is None:
            break
        assert action.kind is ActionKind.SET_WEIGHT
        weights.append(action.weight)
        step = action.step
    assert weights == [40, 60, 80, 100, 100]
    assert (step, action.kind, action.weight) == (WATCH, ActionKind.PROMOTE, 100)


def test_a_passed_comparison_hands_its_traffic_back() -> None:
    scene = Scene(step=ab_step(QUICK))
    scene.serve(GREEN, USER, 200)
    scene.look(seconds=10)
    assert scene.action() == Action(kind=ActionKind.SET_WEIGHT, weight=0, reason=scene.judgements[-1].reason)


def test_an_undecided_step_waits_at_its_weight() -> None:
    scene = Scene(step=SHIFT_100)
    scene.look()
    assert (scene.action().kind, scene.action().weight) == (ActionKind.WAIT, 100)


def test_the_state_survives_the_durable_record() -> None:
    scene = Scene()
    for _ in range(25):
        scene.serve(GREEN, USER, 20, failed=1)
        scene.serve(BLUE, USER, 80)
        scene.look()
    text = scene.state.model_dump_json()
    restored = StepState.model_validate_json(text)
    assert restored == scene.state
    assert assess_step(QUICK, restored, scene.snapshot(), GREEN, DIGEST) == assess_step(
        QUICK, scene.state, scene.snapshot(), GREEN, DIGEST
    )


def test_a_budget_that_is_no_bucket_edge_is_refused_before_anything_is_judged() -> None:
    with pytest.raises(ValueError, match=r"0\.7 s is no edge of the latency buckets \(0\.1, 1\.0, \+Inf\)"):
        Scene(plan=QUICK.replace(latency_budget_seconds=0.7), backends={"green/user": counters(1)})


def test_a_state_that_an_earlier_version_stored_in_the_middle_of_a_step_goes_on() -> None:
    """It kept the counts since each restart, too, and knew nothing of late starts."""
    scene = Scene()
    for _ in range(12):
        scene.serve(GREEN, USER, 20)
        scene.look()
    stored = scene.state.model_dump(mode="json", exclude={"onsets", "starts"})
    stored["windows"].append({**stored["windows"][0], "index": 1})
    scene.state = StepState.model_validate(stored)
    assert scene.look().verdict in {StepVerdict.CONTINUE, StepVerdict.PASS}
    scene.serve(GREEN, USER, 12, failed=12)
    assert scene.look().verdict is StepVerdict.FAIL

"""What is kept of a step: how the evidence grew, and what nobody followed."""

from __future__ import annotations

from banana_delivery.policy.rollout.analysis import Finding, findings
from banana_delivery.policy.rollout.metrics import MOST_POINTS, EvidenceSeen, metrics_since
from banana_delivery.policy.rollout.plan import Limit, StepKind
from banana_delivery.policy.rollout.reasons import progress
from tests.unit.policy.rollout.scene import GREEN, PROBE, QUICK, SHIFT_20, USER, Scene


def finding(log_e: float, limit: Limit = Limit.FAILURES, window: int = 0) -> Finding:
    return Finding(limit=limit, source=USER, window=window, bad=3, judged=9, log_e=log_e, needed=5.0)


def test_evidence_is_kept_as_a_share_of_what_turns_back_and_the_strongest_test_of_a_kind_counts() -> None:
    seen = EvidenceSeen()
    seen.add(1.0, [finding(1.0), finding(2.0, window=1), finding(-3.0, Limit.SLOW)])
    seen.add(2.0, [finding(6.0), finding(4.0, Limit.SLOW)])
    assert [(line.limit, line.points) for line in seen.lines] == [
        (Limit.FAILURES, ((1.0, 0.4), (2.0, 1.2))),
        (Limit.SLOW, ((1.0, 0.0), (2.0, 0.8))),
    ]


def test_evidence_that_went_away_is_seen_to_go() -> None:
    seen = EvidenceSeen()
    seen.add(1.0, [finding(4.0)])
    seen.add(2.0, [])
    assert [line.points for line in seen.lines] == [((1.0, 0.8), (2.0, 0.0))]


def test_a_step_without_evidence_keeps_nothing_and_a_long_one_little_with_its_peak_and_its_end() -> None:
    assert EvidenceSeen().lines == ()
    seen = EvidenceSeen()
    for second in range(500):
        seen.add(float(second), [finding(4.5 if second == 250 else 1.0)])
    [line] = seen.lines
    assert len(line.points) <= MOST_POINTS
    assert (250.0, 0.9) in line.points and line.points[-1] == (499.0, 0.2)
    assert list(line.points) == sorted(line.points)


def test_the_line_of_a_log_says_weight_time_requests_and_the_strongest_evidence() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 20, failed=6)
    judged = scene.look()
    against = findings(QUICK, scene.state, GREEN)
    said = progress(scene.state, judged.reason, against)
    assert said.startswith("shift at 20 % since 1 s: ")
    assert "strongest evidence against it: failures of user requests, log E " in said
    assert progress(scene.state, judged.reason, []).endswith("nothing speaks against it.")


def test_whoever_takes_a_version_out_sees_what_users_got_since_its_last_step_began() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 50, failed=1)
    baseline = scene.snapshot()
    scene.serve(GREEN, USER, 30, failed=7)
    scene.serve(GREEN, PROBE, 10)
    scene.now += 12
    metrics = metrics_since(QUICK, baseline, scene.snapshot(), GREEN, SHIFT_20)
    assert (metrics.kind, metrics.weight, metrics.seconds) == (StepKind.SHIFT, 20, 12.0)
    assert (metrics.sources[USER].requests, metrics.sources[USER].failed, metrics.failed) == (30, 7, 7)

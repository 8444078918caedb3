"""What holds for every traffic, not only for the scenes somebody thought of."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.model import Counters
from banana_delivery.policy.rollout.counters import add, delta
from banana_delivery.policy.rollout.decision import StepAssessment, StepVerdict
from banana_delivery.policy.rollout.plan import Plan, Step, all_steps
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, QUICK, USER, Scene, counters

SEVERITY = {StepVerdict.PASS: 0, StepVerdict.CONTINUE: 1, StepVerdict.INCONCLUSIVE: 2, StepVerdict.FAIL: 3}


@dataclass(frozen=True)
class Second:
    """What arrives between two looks; failures and slow answers are parts of the candidate's requests."""

    users: int
    user_failures: int
    slow: int
    probes: int
    probe_failures: int
    active: int


def seconds(most_failures: int = 4) -> st.SearchStrategy[list[Second]]:
    one = st.builds(
        lambda users, probes, active, parts: Second(
            users, min(parts[0], users), min(parts[1], users), probes, min(parts[2], probes), active
        ),
        st.integers(0, 60),
        st.integers(0, 30),
        st.integers(0, 200),
        st.tuples(st.integers(0, most_failures), st.integers(0, 2), st.integers(0, most_failures)),
    )
    return st.lists(one, min_size=1, max_size=12)


def play(traffic: list[Second], scene: Scene, restarts: frozenset[int] = frozenset()) -> StepAssessment:
    """Look after every second; before some of them the router and the replicas restart, and a look sees them empty."""
    for index, second in enumerate(traffic):
        if index in restarts:
            scene.backends = {key: counters(0) for key in scene.backends}
            scene.look(seconds=0)
        scene.serve(GREEN, USER, second.users, second.user_failures, second.slow)
        scene.serve(GREEN, PROBE, second.probes, second.probe_failures)
        scene.serve(BLUE, USER, second.active)
        scene.look()
    return scene.judgements[-1]


@given(traffic=seconds(most_failures=1), failures_at=st.sets(st.integers(0, 11), max_size=2))
@settings(max_examples=30)
def test_fewer_than_three_bad_requests_never_turn_a_candidate_back(
    traffic: list[Second], failures_at: set[int]
) -> None:
    scene = Scene()
    for index, second in enumerate(traffic):
        bad = int(index in failures_at and second.users > 0)
        scene.serve(GREEN, USER, second.users, bad)
        scene.serve(GREEN, PROBE, second.probes)
        scene.serve(BLUE, USER, second.active)
        assert scene.look().verdict is not StepVerdict.FAIL


@given(traffic=seconds(), more=st.integers(1, 20))
@settings(max_examples=30)
def test_more_failures_among_the_same_requests_never_make_the_verdict_milder(traffic: list[Second], more: int) -> None:
    once, worse = Scene(), Scene()
    play(traffic, once)
    play(traffic, worse)
    for scene, failed in ((once, 0), (worse, more)):
        scene.serve(GREEN, USER, 20, failed)
        scene.look()
    assert SEVERITY[worse.judgements[-1].verdict] >= SEVERITY[once.judgements[-1].verdict]


@given(traffic=seconds(), restarts=st.frozensets(st.integers(0, 11), max_size=3))
@settings(max_examples=30)
def test_restarts_of_router_and_replicas_change_no_judgement(traffic: list[Second], restarts: frozenset[int]) -> None:
    assert play(traffic, Scene(), restarts) == play(traffic, Scene())


@given(traffic=seconds(), order=st.permutations(["green/user", "green/probe", "blue/user"]))
@settings(max_examples=15)
def test_the_order_of_the_backends_changes_nothing(traffic: list[Second], order: list[str]) -> None:
    shuffled = Scene(backends={key: counters(0) for key in order})
    assert play(traffic, shuffled) == play(traffic, Scene())


COUNTERS = st.builds(
    lambda requests, failed, slow, overloads: counters(requests + failed + slow + overloads, failed, slow, overloads),
    *(st.integers(0, most) for most in (500, 5, 5, 5)),
)


@given(older=COUNTERS, newer=COUNTERS)
@settings(max_examples=60)
def test_a_difference_is_never_negative_and_undoes_a_sum(older: Counters, newer: Counters) -> None:
    difference = delta(newer, older)
    counts = [difference.requests, difference.overloads, *difference.failures.values(), *difference.latency.values()]
    assert min(counts) >= 0
    assert difference.requests <= newer.requests
    undone = delta(add(older, newer), older)
    assert (undone.requests, undone.failed, undone.overloads) == (newer.requests, newer.failed, newer.overloads)
    assert undone.latency == newer.latency


def test_a_candidate_just_at_its_limits_stays_and_one_at_twice_its_limits_goes() -> None:
    """Whole deliveries through the real loop; the published false alarm rate comes from thousands, in benchmarks/."""
    rng = np.random.default_rng(21)
    plan = QUICK.replace(ab_seconds=12.0, step_seconds=12.0, watch_seconds=12.0, restart_seconds=4.0)
    turned_back = {
        excess: [any(_turned_back(plan, step, excess, rng) for step in all_steps(plan)) for _ in range(12)]
        for excess in (1.0, 2.0)
    }
    assert np.mean(turned_back[1.0]) <= plan.alpha
    assert np.mean(turned_back[2.0]) >= 0.95


def _turned_back(plan: Plan, step: Step, excess: float, rng: np.random.Generator) -> bool:
    """Whether a candidate that has so many times what it may have is turned back in a step of full length."""
    scene = Scene(plan=plan, step=step.replace(minimum_seconds=step.ceiling_seconds))
    while True:
        for source in (USER, PROBE):
            requests = int(rng.poisson(25))
            failed = int(rng.binomial(requests, excess * plan.error_threshold))
            slow = int(rng.binomial(requests, excess * plan.latency_share))
            scene.serve(GREEN, source, requests, failed, slow)
        requests = int(rng.poisson(100))
        scene.serve(BLUE, USER, requests, int(rng.binomial(requests, plan.error_threshold)))
        verdict = scene.look().verdict
        if verdict is not StepVerdict.CONTINUE:
            return verdict is StepVerdict.FAIL

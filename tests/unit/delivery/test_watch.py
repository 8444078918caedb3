"""The watch after a promotion is one test from end to end, whose risk is written down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest

from banana_delivery.delivery.evidence import asking
from banana_delivery.delivery.evidence.asking import Questions
from banana_delivery.delivery.evidence.watched import watched_metrics
from banana_delivery.delivery.watch import Watched, as_one_watch, assess_production, for_start
from banana_delivery.evaluation.own_metrics.fake import FakeMetrics
from banana_delivery.policies.document import Rules
from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.model import Deployment, Environment, ImageRef, Phase, RolloutRecord
from banana_delivery.policy.own_metrics.metric import Measurement, Usual
from banana_delivery.policy.rollout.plan import Limit, Plan, Step, alpha_share, release_steps, windows
from tests.unit.policy.own_metrics.metrics import SHARE, VALUE, metric
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, USER, Scene

STANDARD = PLANS["standard"]
WARM_SECONDS = 1800.0
LIVE = ImageRef(repository="fake", digest=DIGEST, version="2", key="key")
BEFORE = ImageRef(repository="fake", digest=f"sha256:{'b' * 64}", version="1", key="key")


@dataclass
class Promoted:
    """A release that was promoted, looked at every five seconds."""

    scene: Scene = field(default_factory=Scene)
    cursor: str | None = None
    owner: str | None = None
    rng: Random = field(default_factory=lambda: Random(4))
    rules: Rules | None = None
    bad: float = 0.05
    questions: Questions = field(default_factory=Questions)

    def look(self, failing: float = 0.001, users: int = 25) -> str:
        """Why it would be rolled back after some more requests of users; empty if it would not."""
        return self.seen(failing, users).reason

    def seen(self, failing: float, users: int = 25) -> Watched:
        """All that such a look found."""
        failed = sum(self.rng.random() < failing for _ in range(users))
        self.scene.serve(GREEN, USER, users, failed=failed)
        self.scene.now += 5
        record = RolloutRecord(
            environment=Environment.PRODUCTION,
            phase=Phase.IDLE,
            owner=self.owner,
            active=GREEN,
            weights={GREEN: 100, BLUE: 0},
            deployments={GREEN: Deployment(image=LIVE, replicas=2), BLUE: Deployment(image=BEFORE, replicas=2)},
            scale_down_at=1.0,
        )
        own = watched_metrics(self.rules, FakeMetrics(self.says), self.questions, record)
        seen = assess_production(record, self.scene.snapshot(), self.cursor, STANDARD, WARM_SECONDS, own)
        self.cursor = seen.cursor
        return seen

    def says(self, name: str, names: Mapping[str, str]) -> Measurement:
        """A counter of which a share is bad, of the release that has the users."""
        del name
        total = 40 * (self.scene.now - 1000) if names["colour"] == "green" else 0.0
        return Measurement(value=self.bad * total, total=total)


def test_it_never_begins_anew_while_the_release_before_is_warm() -> None:
    promoted = Promoted()
    began = set()
    for _ in range(int(WARM_SECONDS / 5) - 1):
        assert not promoted.look()
        kept = json.loads(promoted.cursor or "")
        began.add((kept["starts"], kept["state"]["started_at"]))
    assert len(began) == 1


@pytest.mark.parametrize("after", [0, 60, 300])
@pytest.mark.parametrize(("failing", "looks"), [(1.0, 1), (0.5, 2), (0.2, 9)])
def test_a_fault_is_found_as_soon_whenever_it_begins(after: int, failing: float, looks: int) -> None:
    promoted = Promoted()
    for _ in range(after):
        assert not promoted.look()
    assert any(promoted.look(failing) for _ in range(looks + 1))


@pytest.mark.parametrize(("owner", "goes_on"), [("reconcile", True), ("cool_down", True), ("a run", False)])
def test_it_goes_on_after_those_who_tidy_up_and_begins_anew_after_a_delivery(owner: str, goes_on: bool) -> None:
    promoted = Promoted()
    for _ in range(3):
        promoted.look()
    before, promoted.owner = promoted.cursor, owner
    assert not promoted.look(failing=1.0)
    assert (promoted.cursor == before) is goes_on
    promoted.owner = None
    assert bool(promoted.look(failing=1.0)) is goes_on


def test_that_nobody_answers_needs_no_evidence_however_much_of_it_a_router_counts() -> None:
    promoted = Promoted()
    promoted.seen(0.0)
    assert promoted.seen(1.0).by_evidence
    promoted.scene.digests.clear()
    promoted.seen(1.0)
    found = promoted.seen(1.0)
    assert found.reason
    assert not found.by_evidence


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
@pytest.mark.parametrize("warm_seconds", [0.0, WARM_SECONDS, 1e9])
def test_all_its_tests_together_spend_no_more_than_alpha(plan: Plan, warm_seconds: float) -> None:
    watched = as_one_watch(plan, warm_seconds)
    step: Step = release_steps(watched)[-1]
    assert step.minimum_seconds == step.ceiling_seconds >= plan.watch_seconds
    spent = 2 * sum(
        alpha_share(watched, step, limit, number)
        for limit in (Limit.FAILURES, Limit.SLOW, Limit.OVERLOAD)
        for number in range(windows(watched, step))
    )
    assert spent + alpha_share(watched, step, Limit.WORSE_THAN_ACTIVE, 0) + plan.alpha / 18 <= plan.alpha


def test_were_it_ever_begun_anew_all_its_starts_would_spend_two_alphas_at_most() -> None:
    assert 1.9 < sum(for_start(STANDARD, start).alpha for start in range(1, 60)) / STANDARD.alpha <= 2


@pytest.mark.parametrize(
    ("bad", "usual", "goes"),
    [(0.05, None, False), (0.6, None, True), (0.6, Usual(bad=600, judged=1000), False)],
    ids=["fine", "fails", "failed before, too"],
)
def test_it_goes_by_what_the_team_measures_and_excuses_what_was_so_before(
    bad: float, usual: Usual | None, goes: bool
) -> None:
    one = metric(SHARE)
    known = {one.name: usual} if usual else {}
    rules = Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(one,), usual=known)
    promoted = Promoted(rules=rules, bad=bad)
    said = [promoted.look() for _ in range(12)]
    assert any("The metric empty fails" in one for one in said) is goes
    assert any(said) is goes


def test_a_metric_that_nobody_answers_rolls_nothing_back() -> None:
    rules = Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(metric(SHARE),))
    promoted = Promoted(rules=rules)
    promoted.says = lambda name, names: Measurement(trouble="is away")  # type: ignore[method-assign]
    assert not any(promoted.look() for _ in range(12))


@pytest.mark.parametrize(("before", "goes"), [(50.0, True), (0.5, False)])
def test_a_figure_of_the_release_that_has_no_users_any_more_excuses_nobody(before: float, goes: bool) -> None:
    """Orders a second: the release before takes none while it is kept warm, and once took many, or few as well."""
    orders = metric(VALUE, failure_condition="< 1", interval_seconds=5)
    rules = Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(orders,), usual={orders.name: Usual(value=before)})
    promoted = Promoted(rules=rules)
    promoted.says = lambda name, names: Measurement(value=0.0)  # type: ignore[method-assign]
    assert any(promoted.look() for _ in range(6)) is goes


@pytest.mark.parametrize("by", ["metric", "requests"])
def test_a_rollback_that_failed_is_tried_at_the_next_look_by_the_same_evidence(by: str) -> None:
    """Whoever has to roll back may be away for longer than he is waited for."""
    slow = metric(VALUE, failure_condition="< 1", interval_seconds=10, initial_delay_seconds=600)
    rules = Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(slow,)) if by == "metric" else None
    promoted = Promoted(rules=rules)
    promoted.says = lambda name, names: Measurement(value=0.0)  # type: ignore[method-assign]
    looks, failing = (300, 0.0) if by == "metric" else (80, 0.12)
    first = next(seen for seen in (promoted.seen(failing) for _ in range(looks)) if seen.reason)
    again = [promoted.seen(failing) for _ in range(5)]
    assert all(seen.reason for seen in again)
    assert [seen.failing for seen in [first, *again]] == [1, 2, 3, 4, 5, 6]


def test_evidence_of_what_is_over_turns_nothing_back_any_more() -> None:
    orders = metric(VALUE, failure_condition="< 1", interval_seconds=5)
    promoted = Promoted(rules=Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(orders,)))
    promoted.says = lambda name, names: Measurement(value=0.0)  # type: ignore[method-assign]
    assert any(promoted.look(0.0) for _ in range(6))
    promoted.says = lambda name, names: Measurement(value=50.0)  # type: ignore[method-assign]
    promoted.look(0.0)
    assert not any(promoted.look(0.0) for _ in range(6))


def test_a_metrics_server_that_is_slower_than_a_tick_is_heard_at_the_next_and_asked_no_oftener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow one is asked at its interval, and what it says three times in a row turns the release back."""
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.0)
    orders = metric(VALUE, failure_condition="< 1", interval_seconds=60)
    promoted = Promoted(rules=Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(orders,)))
    may, asked = threading.Event(), list[float]()

    def says(name: str, names: Mapping[str, str]) -> Measurement:
        del name, names
        asked.append(promoted.scene.now)
        may.wait(10)
        return Measurement(value=0.0)

    promoted.says = says  # type: ignore[method-assign]
    said = []
    for _ in range(30):
        said.append(promoted.look(0.0))
        if len(said) % 12 == 6:
            may.set()  # Half a minute after it was asked.
            promoted.questions._latest[orders.name].wait(time.monotonic() + 10)
            may.clear()
    assert [one - asked[0] for one in asked] == [0, 60, 120]
    assert [bool(one) for one in said] == [False] * 30
    may.set()
    promoted.questions._latest[orders.name].wait(time.monotonic() + 10)
    assert promoted.look(0.0).startswith("The metric empty fails")


def test_people_see_that_nothing_is_watched_by_a_metric_that_nobody_answers() -> None:
    rules = Rules(run_id="r", digest=DIGEST, plan=STANDARD, metrics=(metric(SHARE), metric(VALUE, name="orders")))
    promoted = Promoted(rules=rules)
    promoted.says = lambda name, names: (  # type: ignore[method-assign]
        Measurement(trouble="it answers 500") if name == "empty" else Measurement(value=0.0)
    )
    said = [promoted.seen(0.0).detail for _ in range(3)][-1]
    assert "The metric empty is not heard, so that nothing is watched by it: it answers 500." in said
    assert "orders" not in said

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from banana_delivery.policy.asset_records import AbRecord, AbVerdict, AttemptRecord, ShiftStep, Verdict
from banana_delivery.policy.model import Colour, ImageRef, Outcome, TrafficSource
from banana_delivery.policy.rollout.metrics import StepMetrics, TrafficMetrics
from banana_delivery.policy.rollout.plan import StepKind
from banana_delivery.policy.scorecard.card import DAY, Measure, Scorecard, Standing, scorecard
from tests.unit.reports import scenes

NOW = 1_000 * DAY
ORDER = count(1)
NEW, MENDED = (f"sha256:{digit * 64}" for digit in "ab")


def traffic(requests: int, failed: int = 0) -> TrafficMetrics:
    return TrafficMetrics(requests=requests, failed=failed, overloads=0, retries=0, p95_seconds=0.04)


def step(
    weight: int, began_at: float | None, users: tuple[int, int] = (100, 0), *, dark: float | None = 0.0, **facts: Any
) -> ShiftStep:
    """A step of ten seconds; ``users`` are those of the other colour and what of them failed."""
    metrics = StepMetrics(
        kind=StepKind.SHIFT,
        weight=weight,
        seconds=10.0,
        requests=50,
        failed=0,
        overloads=0,
        retries=0,
        p95_seconds=0.04,
        sources={TrafficSource.USER: traffic(50), TrafficSource.PROBE: traffic(999, 999)},
        active=traffic(999, 999),
        active_users=traffic(*users),
        dark_seconds=dark,
        began_at=began_at,
    )
    return ShiftStep(metrics=metrics.replace(**facts), decision="set_weight", reason="So.")


def line(outcome: Outcome, *, ago: float = DAY, **facts: Any) -> AttemptRecord:
    order = next(ORDER)
    known: dict[str, Any] = {"version": "7", "reason": "So.", "run_id": f"run-{order}", "digest": NEW}
    return AttemptRecord(**{**known, "outcome": outcome, "at": NOW - ago, "order": order, **facts})


def released(lead: float = 300.0, **facts: Any) -> AttemptRecord:
    asked = NOW - 2 * DAY
    steps = (step(20, asked + lead / 2), step(100, asked + lead))
    return line(Outcome.RELEASED, **{"asked_at": asked, "steps": steps, "trigger": "sensor", **facts})


def of(*attempts: AttemptRecord, reports: tuple[AbRecord, ...] = (), left_out: int = 0) -> Scorecard:
    return scorecard(attempts, reports, since=NOW - 90 * DAY, until=NOW, left_out=left_out)


def figure(measure: Measure) -> tuple[float | None, Standing]:
    return measure.estimate.value, measure.standing


def test_of_nothing_nothing_is_known_and_nothing_is_good() -> None:
    promised = [one for one in of().measures if one.promise]
    assert len(promised) == 5
    assert {one.standing for one in promised} == {Standing.UNKNOWN}


def test_a_few_good_ones_are_too_few_to_keep_a_promise() -> None:
    card = of(*[released() for _ in range(8)])
    assert figure(card.measure("lead_time")) == (300.0, Standing.UNSURE)
    assert figure(card.measure("success_rate")) == (1.0, Standing.UNSURE)


def test_many_good_ones_keep_every_promise_about_them() -> None:
    card = of(*[released() for _ in range(100)])
    kept = {one.name: one.standing for one in card.measures if one.promise}
    assert kept == {
        "lead_time": Standing.KEPT,
        "success_rate": Standing.KEPT,
        "rollback_time": Standing.UNKNOWN,
        "user_errors": Standing.KEPT,
        "availability": Standing.KEPT,
    }


def test_one_slow_delivery_of_few_breaks_nothing_and_many_do() -> None:
    assert of(released(), released(lead=2000.0)).measure("lead_time").standing is Standing.UNSURE
    assert of(*[released(lead=2000.0) for _ in range(5)]).measure("lead_time").standing is Standing.BROKEN


def test_unknown_cases_keep_a_promise_from_being_kept() -> None:
    old = line(Outcome.RELEASED, steps=(step(100, None, active_users=None, dark=None),))
    card = of(*[released() for _ in range(100)], old, left_out=1)
    assert card.measure("lead_time").unknown == 1
    assert {one.standing for one in card.measures if one.promise} == {Standing.UNSURE, Standing.UNKNOWN}


def test_a_lead_by_two_clocks_that_do_not_agree_is_not_known() -> None:
    lead = of(released(lead=-5.0)).measure("lead_time")
    assert (lead.estimate.value, lead.unknown) == (None, 1)


@pytest.mark.parametrize("trigger", ["backfill", "redeploy"])
def test_what_waits_in_a_queue_that_somebody_filled_is_no_lead_time(trigger: str) -> None:
    assert of(released(trigger=trigger)).measure("lead_time").estimate.cases == 0


def test_a_version_that_served_already_is_no_release() -> None:
    card = of(released(previous_digest=NEW))
    assert (card.measure("frequency").estimate.cases, card.measure("lead_time").estimate.cases) == (0, 0)


@pytest.mark.parametrize(
    ("outcome", "rate"),
    [
        (Outcome.RELEASED, 1.0),
        (Outcome.REJECTED, 1.0),
        (Outcome.ROLLED_BACK, 1.0),
        (Outcome.PARKED, 1.0),
        (Outcome.SUPERSEDED, 1.0),
        (Outcome.CANCELLED, None),
        (Outcome.ERROR, 0.0),
    ],
)
def test_each_outcome_counts_as_the_table_says(outcome: Outcome, rate: float | None) -> None:
    assert of(line(outcome)).measure("success_rate").estimate.value == rate


def test_a_rollback_of_what_was_healthy_after_all_is_bad() -> None:
    back = line(Outcome.ROLLED_BACK, revoked=True)
    assert of(back, released()).measure("success_rate").estimate.value == 0.5
    another = released(digest=MENDED)
    assert of(back, another).measure("success_rate").estimate.value == 1.0
    again = released(run_id="again")
    out = line(Outcome.ROLLED_BACK, run_id="", trigger="rollback", revokes="again", revoked=True)
    assert of(back, again, out).measure("success_rate").estimate.value == 1.0


def test_a_release_that_was_taken_out_later_is_one_delivery_and_one_rollback() -> None:
    out = released(run_id="first")
    back = line(Outcome.ROLLED_BACK, run_id="", trigger="rollback", revokes="first", revoked=True, rollback_seconds=0.4)
    card = of(out, back)
    assert (card.deliveries, card.outcomes) == (1, {Outcome.ROLLED_BACK: 1})
    assert card.measure("rollbacks").estimate.cases == 1
    assert card.measure("rollback_time").estimate.value == 0.4


def test_a_rollback_of_what_is_not_on_record_is_no_delivery() -> None:
    back = line(Outcome.ROLLED_BACK, trigger="rollback", revoked=True)
    card = of(back)
    assert (card.deliveries, card.measure("rollbacks").estimate.cases) == (0, 1)
    assert card.measure("rollback_time").unknown == 1


def test_users_are_counted_on_both_colours_and_probes_on_neither() -> None:
    card = of(line(Outcome.ROLLED_BACK, steps=(step(20, 1.0, (100, 3)), step(40, 2.0, (50, 0), failed=9))))
    errors = card.measure("user_errors")
    assert (errors.note, errors.estimate.cases) == ("3 of 250", 250)


def report(traffic: StepMetrics) -> AbRecord:
    ref = ImageRef(version="7", repository="r", digest=NEW, key="k")
    verdict = AbVerdict(verdict=Verdict.PASS, digest=ref.digest, reason="So.", at=NOW - DAY - 50)
    quality = scenes.quality(0.1)
    return AbRecord(
        ref=ref, colour=Colour.GREEN, against=None, verdict=verdict, traffic=traffic, quality=quality, seconds=20.0
    )


def test_the_first_users_are_those_of_the_report_and_their_failures_count() -> None:
    asked = NOW - 2 * DAY
    compared = report(step(10, asked + 60.0, (100, 1)).metrics)
    card = of(released(seconds=2 * DAY), reports=(compared,))
    assert card.measure("first_user").estimate.value == 60.0
    assert card.measure("user_errors").note == "1 of 450"
    alone = of(released())
    assert alone.measure("first_user").estimate.value == 150.0


def test_a_second_in_which_nobody_was_served_breaks_the_promise_and_a_quiet_hour_proves_nothing() -> None:
    dark = of(released(steps=(step(100, NOW - DAY, dark=1.0),))).measure("availability")
    assert (dark.standing, dark.note) == (Standing.BROKEN, "1 s of 10 s without")
    nobody = step(100, NOW - DAY, (0, 0), sources={TrafficSource.USER: traffic(0)})
    assert of(released(steps=(nobody,))).measure("availability").standing is Standing.UNKNOWN


def test_what_ended_before_or_after_is_left_out() -> None:
    card = of(released(), line(Outcome.ERROR, ago=91 * DAY), line(Outcome.ERROR, ago=-1.0))
    assert card.outcomes == {Outcome.RELEASED: 1}


def test_a_young_pipeline_was_not_idle_before_it_was_there() -> None:
    frequency = of(released(), released(ago=9 * DAY)).measure("frequency").estimate
    assert frequency.value == pytest.approx(2 / 9)

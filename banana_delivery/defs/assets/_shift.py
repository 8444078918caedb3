"""What the loop of a release judges by beside the counters, the same for the A/B and for the release."""

from __future__ import annotations

from banana_delivery.defs.assets._run import DeliveryRun
from banana_delivery.delivery.evidence.kept import look_book
from banana_delivery.delivery.evidence.own import own_metrics
from banana_delivery.delivery.traffic_shift import TrafficShift
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.policies.document import Rules
from banana_delivery.policy.model import RolloutRecord


def equip(
    shift: TrafficShift, run: DeliveryRun, rules: Rules, production: RolloutRecord, source: MetricSource
) -> TrafficShift:
    """A shift with all that a run brings to it.

    Args:
        shift: before its first step.
        run: the delivery under way.
        rules: that it goes by.
        production: before it.
        source: of the team's own metrics.
    """
    shift.overridden, shift.paused = run.override(shift.image) is not None, run.paused
    shift.observing = rules.observes
    shift.looks = look_book(run.settings.home, run.run_id)
    shift.own = own_metrics(rules.metrics, source, rules.plan, production, shift.image)
    return shift

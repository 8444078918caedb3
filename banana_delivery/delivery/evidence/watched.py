"""A team's own metrics in the watch after a promotion: asked at a sensor's ticks, which keep what they said."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from banana_delivery.delivery.evidence.own import Answered, names_of
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.policies.document import Rules
from banana_delivery.policy.model import RolloutRecord
from banana_delivery.policy.own_metrics.judging import (
    MetricState,
    begun,
    is_compared,
    is_judged,
    judged,
    measured,
    threshold,
)
from banana_delivery.policy.own_metrics.metric import UNKNOWN, OwnMetric
from banana_delivery.policy.own_metrics.watching import with_metrics
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.decision import StepAssessment
from banana_delivery.policy.rollout.plan import Plan, Step

PATIENCE_SECONDS = 2.0
"""How long a tick waits for all of them together: others wait for the sensor. What answers later is asked anew."""


@dataclass
class WatchedMetrics:
    """The metrics of the release that serves, at one tick.

    Attributes:
        rules: that it was released by.
        source: is asked.
        names: what placeholders stand for: of the release that serves first, then of the one before it.
    """

    rules: Rules
    source: MetricSource
    names: tuple[Mapping[str, str], ...]
    _answers: dict[str, Answered] | None = field(default=None, init=False)

    def assess(
        self, judgement: StepAssessment, state: StepState, known: Mapping[str, MetricState], plan: Plan
    ) -> tuple[StepAssessment, dict[str, MetricState]]:
        """An assessment of the watch with what the metrics say; those that are due are asked, once a tick.

        Args:
            judgement: by the counters.
            state: of the watch.
            known: what the metrics said until the last tick, by name.
            plan: with the alpha of the watch.
        """
        metrics, step, seconds = self.rules.metrics, state.step, state.whole_seconds
        wanted = [one for one in metrics if is_judged(one, step, first=False)]
        usual = self.rules.usual
        states = {one.name: known.get(one.name) or begun(step, usual.get(one.name, UNKNOWN)) for one in wanted}
        if self._answers is None:
            self._answers = self._asked([one for one in wanted if _is_due(one, states[one.name], seconds)], step)
        for metric in wanted:
            if metric.name in self._answers:
                ours, theirs = self._answers[metric.name]
                states[metric.name] = measured(metric, step, states[metric.name], seconds, ours, theirs)
        needed = threshold(plan, metrics)
        verdicts = [judged(one, states[one.name], seconds, needed, step.ceiling_seconds) for one in wanted]
        return with_metrics(judgement, verdicts), states

    def _asked(self, metrics: list[OwnMetric], step: Step) -> dict[str, Answered]:
        """What is answered in time, by name."""
        found: dict[str, Answered] = {}

        def ask(metric: OwnMetric) -> None:
            of = self.names if is_compared(metric, step) else self.names[:1]
            ours, *theirs = [self.source.measure(metric, names) for names in of]
            found[metric.name] = ours, theirs[0] if theirs else None

        asking = [threading.Thread(target=ask, args=(one,), name=one.name, daemon=True) for one in metrics]
        for thread in asking:
            thread.start()
        until = time.monotonic() + PATIENCE_SECONDS
        for thread in asking:
            thread.join(max(until - time.monotonic(), 0.0))
        return dict(found)


def _is_due(metric: OwnMetric, state: MetricState, seconds: float) -> bool:
    return state.at is None or seconds >= state.at + metric.interval_seconds


def watched_metrics(rules: Rules | None, source: MetricSource, production: RolloutRecord) -> WatchedMetrics | None:
    """The metrics of what production serves; None without any.

    Args:
        rules: that it was released by.
        source: is asked.
        production: at rest.
    """
    live, active = production.live, production.active
    if rules is None or not rules.metrics or live is None or active is None:
        return None
    before = production.deployments.get(active.other)
    names = [names_of(active, live), *([names_of(active.other, before.image)] if before else [])]
    return WatchedMetrics(rules, source, tuple(names))

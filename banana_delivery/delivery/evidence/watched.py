"""A team's own metrics in the watch after a promotion: asked at a sensor's ticks, which keep what they said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from banana_delivery.delivery.evidence.asking import Answered, Questions
from banana_delivery.delivery.evidence.own import names_of
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
from banana_delivery.policy.rollout.plan import Plan


@dataclass
class WatchedMetrics:
    """The metrics of the release that serves, at one tick.

    Attributes:
        rules: that it was released by.
        source: is asked.
        questions: under way, of this process; they go on between ticks.
        names: what placeholders stand for: of the release that serves first, then of the one before it.
    """

    rules: Rules
    source: MetricSource
    questions: Questions
    names: tuple[Mapping[str, str], ...]
    _news: list[tuple[str, float, Answered]] | None = field(default=None, init=False)

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
        metrics, step, usual = self.rules.metrics, state.step, self.rules.usual
        wanted = {one.name: one for one in metrics if is_judged(one, step, first=False)}
        states = {name: known.get(name) or begun(step, usual.get(name, UNKNOWN)) for name in wanted}
        if self._news is None:
            self._news = self._asked(wanted.values(), state, {name: one.at for name, one in states.items()})
        for name, asked, answer in self._news:
            states[name] = measured(wanted[name], step, states[name], asked, *answer)
        needed = threshold(plan, metrics)
        verdicts = [
            judged(one, states[name], state.whole_seconds, needed, step.ceiling_seconds) for name, one in wanted.items()
        ]
        return with_metrics(judgement, verdicts), states

    def _asked(
        self, metrics: Iterable[OwnMetric], state: StepState, counted: Mapping[str, float | None]
    ) -> list[tuple[str, float, Answered]]:
        """Ask for those that are due; what is answered by now, whenever it was asked."""
        self.questions.begin(f"{self.names[0]['digest']} since {state.started_at}")
        for metric in metrics:
            of = self.names if is_compared(metric, state.step) else self.names[:1]
            self.questions.ask_if_due(self.source, metric, of, state.whole_seconds, counted[metric.name])
        return list(self.questions.news(counted))


def watched_metrics(
    rules: Rules | None, source: MetricSource, questions: Questions, production: RolloutRecord
) -> WatchedMetrics | None:
    """The metrics of what production serves; None without any.

    Args:
        rules: that it was released by.
        source: is asked.
        questions: under way, of this process.
        production: at rest.
    """
    live, active = production.live, production.active
    if rules is None or not rules.metrics or live is None or active is None:
        return None
    before = production.deployments.get(active.other)
    names = [names_of(active, live), *([names_of(active.other, before.image)] if before else [])]
    return WatchedMetrics(rules, source, questions, tuple(names))

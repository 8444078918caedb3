"""A team's own metrics beside the loop of a release: asked when they are due, judged at every look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from banana_delivery.delivery.evidence.asking import Answered, Questions
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.policy.model import Colour, ImageRef, RolloutRecord
from banana_delivery.policy.own_metrics.joining import joined
from banana_delivery.policy.own_metrics.judging import (
    MetricState,
    begun,
    begun_anew,
    is_compared,
    is_judged,
    judged,
    measured,
    threshold,
    usual_after,
)
from banana_delivery.policy.own_metrics.metric import UNKNOWN, OwnMetric, Usual
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.decision import StepAssessment
from banana_delivery.policy.rollout.plan import Plan


@dataclass
class OwnMetrics:
    """The metrics of one delivery.

    Attributes:
        metrics: as the policy says them.
        source: is asked.
        plan: with all of alpha.
        names: what placeholders stand for, by colour: of the candidate first, then of the active release.
        states: of each within the step, by name.
        latest: what was answered last, by name: for whoever keeps what was looked at.
        usual: how the active release stood by each while it had users, by name.
    """

    metrics: tuple[OwnMetric, ...]
    source: MetricSource
    plan: Plan
    names: tuple[Mapping[str, str], ...]
    states: dict[str, MetricState] = field(default_factory=dict)
    latest: dict[str, Answered] = field(default_factory=dict)
    usual: dict[str, Usual] = field(default_factory=dict)
    _questions: Questions = field(default_factory=Questions)
    _alone: bool = True

    def begin(self) -> tuple[tuple[OwnMetric, ...], dict[str, Usual]]:
        """A step begins, or the same one anew after a trial: what was measured before says nothing about it.

        Returns:
            What is asked for in it, and how the active release stood by that until now.
        """
        self.usual = self.known_usual()
        self.states, self.latest, self._questions = {}, {}, Questions()
        return self.metrics, self.usual

    def known_usual(self) -> dict[str, Usual]:
        """How the active release stood by each metric until now, by name."""
        if self._alone:
            return self.usual
        new = {name: usual_after(state.replace(usual=self._usual_of(name))) for name, state in self.states.items()}
        return {**self.usual, **new}

    def assess(self, judgement: StepAssessment, state: StepState) -> StepAssessment:
        """An assessment with what the metrics say; those that are due are asked beside it."""
        if not self.metrics:
            return judgement
        self.latest = {}
        self._alone = state.step.weight == 100
        wanted = [one for one in self.metrics if is_judged(one, state.step, first=len(self.names) < 2)]
        for metric in wanted:
            of = self.names if is_compared(metric, state.step) else self.names[:1]
            self._questions.ask_if_due(self.source, metric, of, state.whole_seconds, self._known(metric, state).at)
        by_name = {one.name: one for one in wanted}
        for name, asked, answer in self._questions.news({one.name: self._known(one, state).at for one in wanted}):
            before = self._known(by_name[name], state)
            self.latest[name] = answer
            self.states[name] = measured(by_name[name], state.step, before, asked, *answer)
        needed = threshold(self.plan, self.metrics)
        verdicts = [
            judged(one, self._known(one, state), state.whole_seconds, needed, state.step.ceiling_seconds)
            for one in wanted
        ]
        return joined(judgement, state, verdicts)

    def _known(self, metric: OwnMetric, state: StepState) -> MetricState:
        first = begun(state.step, self._usual_of(metric.name))
        known, since = self.states.get(metric.name, first), state.before_seconds
        return known if known.since == since else begun_anew(known, since)

    def _usual_of(self, name: str) -> Usual:
        return self.usual.get(name, UNKNOWN)


def own_metrics(
    metrics: tuple[OwnMetric, ...], source: MetricSource, plan: Plan, production: RolloutRecord, ref: ImageRef
) -> OwnMetrics:
    """The metrics of a delivery.

    Args:
        metrics: as its policy says them.
        source: is asked.
        plan: with all of alpha.
        production: before it.
        ref: the candidate.
    """
    live = production.live
    names = [names_of(production.idle, ref), *([names_of(production.idle.other, live)] if live else [])]
    return OwnMetrics(metrics, source, plan, tuple(names))


def names_of(colour: Colour, image: ImageRef) -> dict[str, str]:
    """What placeholders stand for."""
    return {"colour": str(colour), "digest": image.digest, "version": image.version}

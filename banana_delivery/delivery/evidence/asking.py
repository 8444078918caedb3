"""Questions for a team's metrics, asked beside whoever looks: an answer may come at a later look than its question."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric

PATIENCE_SECONDS = 0.5
"""How long a look waits for all of them together: others wait for it. What answers later counts at the next one."""
Answered = tuple[Measurement, Measurement | None]
"""Of the candidate, and of the active release where it is asked about."""


class Question:
    """One metric that is asked for, about one release or two of them at once.

    Args:
        source: is asked.
        metric: for which.
        of: what placeholders stand for: of the candidate first, then of the active release where it is asked about.
        seconds: since the step began.
    """

    def __init__(
        self, source: MetricSource, metric: OwnMetric, of: Sequence[Mapping[str, str]], seconds: float
    ) -> None:
        self.seconds = seconds
        self._found: dict[int, Measurement] = {}
        self._asking = [
            threading.Thread(target=self._ask, args=(source, metric, of, which), name=metric.name, daemon=True)
            for which in range(len(of))
        ]
        for thread in self._asking:
            thread.start()

    @property
    def is_open(self) -> bool:
        """Whether an answer is still awaited."""
        return any(thread.is_alive() for thread in self._asking)

    @property
    def answer(self) -> Answered | None:
        """What was answered; None if nothing is known yet, or whoever asked failed."""
        if len(self._found) < len(self._asking):
            return None
        return self._found[0], self._found.get(1)

    def wait(self, until: float) -> None:
        """Wait for the answer, until so many seconds of ``time.monotonic`` at most."""
        for thread in self._asking:
            thread.join(max(until - time.monotonic(), 0.0))

    def _ask(self, source: MetricSource, metric: OwnMetric, of: Sequence[Mapping[str, str]], which: int) -> None:
        self._found[which] = source.measure(metric, of[which])


@dataclass
class Questions:
    """The questions of one step, or of one watch, of which no metric has two at a time.

    Attributes:
        about: which step or watch; what was asked about another one is forgotten.
    """

    about: str = ""
    _latest: dict[str, Question] = field(default_factory=dict, init=False)

    def begin(self, about: str) -> None:
        """Whatever is asked from now on is about this."""
        if about != self.about:
            self.about, self._latest = about, {}

    def ask_if_due(
        self,
        source: MetricSource,
        metric: OwnMetric,
        of: Sequence[Mapping[str, str]],
        seconds: float,
        counted: float | None,
    ) -> None:
        """Ask, unless it is too early or the answer to the question before is still awaited.

        Args:
            source: is asked.
            metric: for which.
            of: as in ``Question``.
            seconds: since the step began.
            counted: when the question was asked whose answer counted last: another process may have asked it.
        """
        before = self._latest.get(metric.name)
        asked = [one for one in (counted, before.seconds if before else None) if one is not None]
        if (before and before.is_open) or any(seconds < one + metric.interval_seconds for one in asked):
            return
        self._latest[metric.name] = Question(source, metric, of, seconds)

    def news(self, counted: Mapping[str, float | None]) -> Iterator[tuple[str, float, Answered]]:
        """The metrics that were answered, when each was asked for and what was answered.

        Waits a moment for all of them together. An answer is news until it counts: a look may come to nothing.

        Args:
            counted: of each metric, when the question was asked whose answer counted last.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        for name, question in self._latest.items():
            question.wait(until)
            if name in counted and question.seconds != counted[name] and question.answer:
                yield name, question.seconds, question.answer

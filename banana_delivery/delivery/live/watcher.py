"""Looking again and again, for one who watches: what moves each second often, what is slow to ask now and then."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import TracebackType

from banana_delivery.delivery.live.beside import Again
from banana_delivery.delivery.live.looking import look_again, look_around
from banana_delivery.policy.model import Environment
from banana_delivery.policy.rollout.live import LiveStep, live_of
from banana_delivery.quoting import in_terminal
from banana_delivery.reports.overview import Overview
from banana_delivery.reports.steps import step_line
from banana_delivery.reports.terminal import state_words
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

LOG = logging.getLogger(__name__)
RECORD_SECONDS = 0.4
"""Between two looks at the records: with the owner's writing, nothing that is shown is older than a second."""
AROUND_SECONDS = 3.0
"""Between two looks at router, replicas, queue and audit trail."""
SAID_SECONDS = 15.0
"""Between two lines about a step in which nothing else is new."""


class Watcher:
    """Knows what is, for as long as the block runs.

    Args:
        settings: whose pipeline.
        target: where releases run.
        log: the audit trail; None while it is away.
    """

    def __init__(self, settings: Settings, target: ReleaseTarget, log: AuditLog | None) -> None:
        self._settings, self._target, self._log = settings, target, log
        self._around = look_around(settings, target, log)
        self._again = Again(self._look_around, AROUND_SECONDS, "watcher")

    def __enter__(self) -> Watcher:
        """Begin to look around."""
        self._again.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Look no more; a question that hangs is left to itself."""
        self._again.stop()

    def each(self) -> Iterator[Overview]:
        """What is, again and again."""
        while self._again.goes_on(RECORD_SECONDS):
            yield look_again(self._around, self._target)

    def news(self) -> Iterator[str]:
        """The same as lines, each when there is something new to say."""
        teller = Teller()
        for seen in self.each():
            yield from teller.told(seen)

    def _look_around(self) -> None:
        try:
            self._around = look_around(self._settings, self._target, self._log)
        except Exception as error:  # noqa: BLE001 - whatever is away, whoever watches sees the rest
            LOG.warning("Not all could be looked at: %s", error)


class Teller:
    """Makes lines of what is seen, none twice."""

    def __init__(self) -> None:
        self._states: dict[Environment, str] = {}
        self._step: tuple[int, int, str] | None = None
        self._said_at = 0.0

    def told(self, seen: Overview) -> Iterator[str]:
        """What is new in it."""
        for record in seen.records:
            owner = replace_beat(state_words(record.replace(heartbeat=seen.at), seen.at))
            if self._states.get(record.environment) != owner:
                self._states[record.environment] = owner
                yield in_terminal(f"{record.environment}: {owner}")
            if step := live_of(record):
                yield from self.step(step, seen.at)

    def step(self, step: LiveStep, now: float) -> Iterator[str]:
        """A line if the step is another one, or is paused or goes on, or some time has passed."""
        which = step.number, step.weight, step.paused
        if which != self._step or now - self._said_at >= SAID_SECONDS:
            self._step, self._said_at = which, now
            yield in_terminal(step_line(step))


def replace_beat(words: str) -> str:
    """The state without what changes with every beat."""
    return words.rpartition(", ")[0] if words.endswith(" s ago") else words

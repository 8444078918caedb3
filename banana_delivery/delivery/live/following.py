"""The step that one delivery is at, shown while somebody waits: on a terminal as it moves, else in lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner

from banana_delivery.delivery.live.beside import Again
from banana_delivery.delivery.live.watcher import RECORD_SECONDS, Teller
from banana_delivery.errors import BananaDeliveryError
from banana_delivery.policy.model import Environment
from banana_delivery.policy.rollout.live import LiveStep, live_of
from banana_delivery.reports.steps import step_lines
from banana_delivery.reports.watching import joined
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import SYSTEM_CLOCK, Clock

LOG = logging.getLogger(__name__)
Steps = Callable[[], LiveStep | None]
"""Asks for the step that a delivery is at; None while it is at none, or nobody can tell."""


def steps_of(target: ReleaseTarget, run_id: str) -> Steps:
    """The steps of a run in production, from the record."""

    def step() -> LiveStep | None:
        record = target.record(Environment.PRODUCTION)
        return live_of(record) if record.owner == run_id else None

    return step


class Following:
    """Shows what a delivery is at, for as long as the block runs. What cannot be asked is not shown.

    Args:
        console: where it moves, if that is a terminal.
        what: is waited for.
        steps: asks for it.
        say: told a line where there is no terminal.
        clock: tells how old it is.
        pause: seconds between two looks.
    """

    def __init__(
        self,
        console: Console,
        what: str,
        steps: Steps,
        say: Callable[[str], None],
        clock: Clock = SYSTEM_CLOCK,
        *,
        pause: float = RECORD_SECONDS,
    ) -> None:
        self._steps, self._say, self._clock = steps, say, clock
        self._spinner = Spinner("dots", what)
        self._step: LiveStep | None = None
        self._live = Live(get_renderable=self._view, console=console, refresh_per_second=4, transient=True)
        self._moves = console.is_terminal
        self._teller, self._again = Teller(), Again(self._look, pause, "following")

    def __enter__(self) -> Following:
        """Begin to show."""
        if self._moves:
            self._live.start()
        self._again.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show no more; a question that hangs is left to itself."""
        if self._moves:
            self._live.stop()
        self._again.stop()

    def _view(self) -> RenderableType:
        lines = step_lines(self._step, self._clock.time()) if self._step else []
        return Group(self._spinner, joined(lines)) if lines else self._spinner

    def _look(self) -> None:
        try:
            self._step = self._steps()
        except BananaDeliveryError as error:
            LOG.debug("What the delivery is at cannot be seen: %s", error)
            return
        if self._step and not self._moves:
            for line in self._teller.step(self._step, self._clock.time()):
                self._say(line)

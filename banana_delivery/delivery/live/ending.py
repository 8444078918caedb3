"""A delivery hears that somebody ended it, whoever launched it and whether or not anybody could tell its process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.delivery.live.beside import Beside
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs


@dataclass
class EndWatch:
    """Asks at every look whether a delivery is to end. While nobody answers, it goes on.

    It is asked beside the delivery, as ``PauseWatch`` is.

    Attributes:
        ask: whether it is to end now.
        end: raises what a cancel raises.
    """

    ask: Callable[[], bool]
    end: Callable[[], object]
    _heard: bool = field(default=False, init=False)
    _beside: Beside = field(default_factory=lambda: Beside("asking whether it is to end"), init=False)

    def __call__(self) -> None:
        """Go on, or end."""
        self._beside.do(self._take_up)
        if self._heard:
            self.end()

    def _take_up(self) -> None:
        self._heard = self._heard or self.ask()


def is_to_end(log: AuditLog, run_id: str) -> bool:
    """Whether a delivery was cancelled or aborted; if so, Dagster knows that its run is to end as cancelled."""
    runs = Runs(log.instance, log.location)
    if runs.is_to_end(run_id):
        return True
    if log.abort(run_id) is None:
        return False
    runs.note_cancel(run_id)
    return True

"""What is done beside whoever waits, so that what does not answer keeps no look waiting that finds a fault."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.errors import redacted

LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 0.5
"""How long a delivery waits for what mostly takes milliseconds."""


@dataclass
class Beside:
    """Does one thing at a time in a thread; what comes while that hangs is left out.

    Attributes:
        what: for the log, when it fails: a release is not turned back for it.
    """

    what: str
    _done: threading.Event | None = field(default=None, init=False)

    def do(self, act: Callable[[], object]) -> None:
        """Begin it unless the thing before is still under way, and wait a moment for its end."""
        if self._done is None or self._done.is_set():
            self._done = threading.Event()
            threading.Thread(target=self._do, args=(act, self._done), name=self.what, daemon=True).start()
            self._done.wait(PATIENCE_SECONDS)

    def _do(self, act: Callable[[], object], done: threading.Event) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whoever is asked or told may be away
            LOG.warning("This failed beside a delivery, %s: %s", self.what, redacted(str(error)))
        finally:
            done.set()


class Again:
    """Does something again and again in a thread, until it is stopped.

    Args:
        act: what; raises nothing.
        seconds: between two times.
        name: of the thread.
    """

    def __init__(self, act: Callable[[], object], seconds: float, name: str) -> None:
        self._act, self._seconds, self._stop = act, seconds, threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin, with the first pause."""
        self._thread.start()

    def goes_on(self, seconds: float) -> bool:
        """Wait so long; False as soon as it was stopped."""
        return not self._stop.wait(seconds)

    def stop(self) -> None:
        """Do it no more; a question that hangs is left to itself."""
        self._stop.set()
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        while self.goes_on(self._seconds):
            self._act()

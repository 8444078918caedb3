"""Users who keep asking while something happens."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

import httpx


class Load:
    """So many users in a closed loop, from entering the block to leaving it.

    Attributes:
        statuses: answers by status; requests without an answer by the name of the error.
    """

    def __init__(self, url: str, users: int = 4) -> None:
        self.statuses: Counter[str] = Counter()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(users)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def lost(self) -> int:
        """Requests that were not answered with success."""
        return self.statuses.total() - self.statuses["200"]

    def _ask(self) -> None:
        with httpx.Client(timeout=10.0, trust_env=False) as client:
            while not self._stop.wait(0.01):
                try:
                    self.statuses[str(client.post(f"{self._url}/predict", content=b"leaf" * 1000).status_code)] += 1
                except httpx.TransportError as error:
                    self.statuses[type(error).__name__] += 1

"""What the pipeline meets outside of Dagster, where it takes no time: shared by the processes of a home.

Runs are processes of their own, and so is the code server; what one of them does to the place where releases run, the
others see. Whoever waits in a delivery does so by a clock on which users and probes arrive, and which is at once where
it would be after the wait: what is on record shows the waits, and nobody has to sit through them.
"""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from typing_extensions import override

from banana_delivery.files import lock, write_atomically
from banana_delivery.model_registry.base import StagedVersion
from banana_delivery.model_registry.fake import FakeRegistry
from banana_delivery.model_registry.webhooks.bell import Bell
from tests.support.phases import SimulatedClock, WatchedTarget

VERSIONS = 400
"""So many are registered; which of them is staged is said by a file."""
LOCKED_SECONDS = 60.0
BETWEEN_LOOKS_SECONDS = 0.05


class SharedTarget(WatchedTarget):
    """A target in memory whose place is the same for all processes of a home.

    Args:
        folder: where the place is kept.
        clock: by which it works.
    """

    def __init__(self, folder: Path, clock: SimulatedClock) -> None:
        super().__init__(clock)
        self._file, self._depth, self._here = folder / "place.pickle", 0, threading.RLock()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """The place as it is, for nobody else while the block runs, and kept as the block leaves it."""
        with self._here:
            if self._depth:
                yield
                return
            self._depth += 1
            try:
                with lock(self._file.with_suffix(".lock"), LOCKED_SECONDS, "The place of the measurement"):
                    self._load()
                    yield
                    self._save()
            finally:
                self._depth -= 1

    def _load(self) -> None:
        with suppress(FileNotFoundError):
            vars(self.place).update(pickle.loads(self._file.read_bytes()))

    def _save(self) -> None:
        self._file.write_bytes(pickle.dumps({name: part for name, part in vars(self.place).items() if name != "lock"}))

    @contextmanager
    def _answering(self, method: str) -> Iterator[None]:  # type: ignore[override]  # theirs is the lock of one process
        with self.shared(), super()._answering(method):
            yield


class PlayedClock(SimulatedClock):
    """The real time, and what was slept by it besides.

    Attributes:
        target: where users arrive meanwhile.
    """

    target: SharedTarget

    @override
    def time(self) -> float:
        return time.time() + self.now

    @override
    def monotonic(self) -> float:
        return time.monotonic() + self.now

    @override
    def sleep(self, seconds: float) -> None:
        with self.target.shared():
            super().sleep(seconds)


class Staging:
    """Which version is staged, in a file.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "staged.json"

    def stage(self, version: str) -> float:
        """Let this one be staged, and no other; returns when, in seconds since the epoch."""
        at = time.time()
        write_atomically(self._file, json.dumps({"version": version, "at": at}))
        return at

    @property
    def mark(self) -> str:
        """Something that changes with each staging."""
        try:
            return str(self._file.stat().st_mtime_ns)
        except FileNotFoundError:
            return ""

    def staged(self) -> list[StagedVersion]:
        """What is staged, if anything is."""
        if not self.mark:
            return []
        said = json.loads(self._file.read_text())
        return [StagedVersion(version=said["version"], staged_at=said["at"], by_stage=True, by_alias=False)]


class PlayedRegistry(FakeRegistry):
    """A registry of many versions, all alike.

    Args:
        staging: which of them is staged.
    """

    def __init__(self, staging: Staging) -> None:
        super().__init__()
        self._staging = staging
        for _ in range(VERSIONS):
            self.publish(b"weights")

    @override
    def staged(self) -> list[StagedVersion]:
        return self._staging.staged()


class PlayedBell(Bell):
    """Rings at each staging, as the receiver of MLflow's webhooks does.

    Args:
        staging: of what.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging

    @override
    def heard(self) -> str | None:
        return self._staging.mark

    @override
    def wait(self, heard: str, seconds: float) -> str | None:
        end = time.monotonic() + seconds
        while (now := self._staging.mark) == heard:
            if time.monotonic() > end:
                return None
            time.sleep(BETWEEN_LOOKS_SECONDS)
        return now

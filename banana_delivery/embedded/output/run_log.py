"""The file of a run: what it prints beside its steps, and what they print as well. Each run has its own.

One that prints without end so takes neither the disk nor what another run said, and printing never fails: a run in the
middle of a shift has something better to do than to end because of a line that could not be written.
"""

from __future__ import annotations

import fcntl
import io
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Buffer, override

from banana_delivery.embedded.output.bounded import BOUNDS, LOOK_SECONDS, STREAMS, Bounds, cut_all

KEPT_RUNS = 20
"""So many files stay, beside those of runs that go on: 100 MB at most, if each of them is at its bound."""
_NAMES = "[0-9]*-[0-9]*-[0-9]*.log"


@dataclass
class RunLog:
    """The file of this process.

    Attributes:
        path: where it is.
        descriptors: of it, held open as long as the process lives, also while its steps print elsewhere. Before the
            last one stand those of files that were removed, into which programs may go on printing.
    """

    path: Path
    descriptors: list[int]

    @classmethod
    def begin(cls, folder: Path) -> RunLog:
        """A new one, which this process and those that it starts print into from now on; older ones are removed.

        Raises:
            OSError: if there can be none.
        """
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.log"
        log = cls(path, [_append_to(path)])
        for stream in STREAMS:
            os.dup2(log.descriptors[-1], stream)
        with suppress(OSError):
            remove_old(folder)
        return log

    def stay(self) -> None:
        """If somebody removed it, go on in a new one of its name; also where a step's end led back to what is gone.

        Raises:
            OSError: if there can be none; what is printed meanwhile is lost.
        """
        if not os.fstat(self.descriptors[-1]).st_nlink:
            self.descriptors.append(_append_to(self.path))
        *removed, there = self.descriptors
        gone = [os.fstat(one) for one in removed]
        for stream in STREAMS:
            into = os.fstat(stream)
            if any(os.path.samestat(into, one) for one in gone):
                os.dup2(there, stream)


def print_into(folder: Path, bounds: Bounds = BOUNDS) -> None:
    """Let this process and those that it starts print into a file of their own, or nowhere if there can be none.

    Args:
        folder: of the files of runs.
        bounds: of each file that is printed into; those that Dagster shows of a step, too.
    """
    log = None
    try:
        log = RunLog.begin(folder)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in STREAMS:
            os.dup2(nowhere, stream)
        os.close(nowhere)
    sys.stdout, sys.stderr = [_printing(stream) for stream in STREAMS]
    threading.Thread(target=_watch, args=(log, bounds), name="bounded-output", daemon=True).start()


def remove_old(folder: Path) -> None:
    """Remove all files of runs but the newest; that of a run that goes on stays."""
    for path in sorted(folder.glob(_NAMES), key=_changed, reverse=True)[KEPT_RUNS:]:
        with suppress(OSError):
            opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                # Held by whoever prints into it: the run, or a program of it that goes on without it.
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(opened)


def _watch(log: RunLog | None, bounds: Bounds) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        if log:
            with suppress(OSError):
                log.stay()
        # During a step the streams are the files that Dagster shows of it.
        cut_all((*STREAMS, *(log.descriptors if log else ())), bounds)


def _append_to(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with suppress(OSError):
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return opened


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _printing(stream: int) -> io.TextIOWrapper:
    """What Python prints by: at once, as PYTHONUNBUFFERED has it, and a line that cannot be written is lost."""
    raw = _Unfailing(stream, "w", closefd=False)
    # Without a buffer between, as Python itself does it; the types know only of one with.
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)


class _Unfailing(io.FileIO):
    """Writes all of what it is given, or as much as the disk takes."""

    @override
    def write(self, data: Buffer, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        with suppress(OSError):
            # None: a pipe that a library put there takes no more at the moment, and nobody waits for it.
            while left and (taken := super().write(left)):
                left = left[taken:]
        return size

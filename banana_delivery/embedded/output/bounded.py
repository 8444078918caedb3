"""Files that a process prints into, kept within bounds while it goes on: their beginning and their end stay.

What is between goes, in place, as logrotate's ``copytruncate`` does it: whoever has such a file open for appending, be
it this process, a library in C or a program that was started, goes on at its new end. Nobody has to be asked, no pipe
can fill or break, and what goes needs no room beside it, also on a disk that is full.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

NOTE = re.compile(rb"\n\[(\d{1,18}) bytes were left out here\]\n")
STREAMS = (1, 2)
"""Standard output and standard error."""
LOOK_SECONDS = 0.5
"""Between two looks at how long files are; what Python prints in a loop is some 20 MB until then."""
_CHUNK = 1 << 20
_NEAR = 1 << 16
"""Bytes in which the end of a line is looked for; what is longer is cut within."""
_CHARACTER = 4
"""Bytes of a character of UTF-8, at most."""
_TRIES = 20
"""To come up with what is printed meanwhile; whoever prints faster than this copies for so long loses its end."""


@dataclass(frozen=True)
class Bounds:
    """Of a file, in bytes.

    Attributes:
        most: a longer one is cut.
        beginning: what stays of its beginning then.
        end: what stays of its end; with the beginning far less than ``most``, or each line would be a cut.
    """

    most: int = 5_000_000
    beginning: int = 1_000_000
    end: int = 2_000_000


BOUNDS = Bounds()


@contextmanager
def bounding(bounds: Bounds = BOUNDS) -> Iterator[None]:
    """For the block, keep within bounds what this process prints into, wherever that is at the moment."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            cut_all(STREAMS, bounds)

    watching = threading.Thread(target=watch, name="bounded-output", daemon=True)
    watching.start()
    try:
        yield
    finally:
        # One that a disk keeps is left to itself.
        over.set()


def cut_all(descriptors: Iterable[int], bounds: Bounds) -> None:
    """Cut those that have become too long; one that cannot be, whatever keeps it, is tried again with the next look."""
    for descriptor in descriptors:
        with suppress(Exception):
            cut(descriptor, bounds)


def cut(descriptor: int, bounds: Bounds) -> bool:
    """Take out the middle of a file that has become too long; whether it had.

    What is printed meanwhile is kept as well, but for the moment between the last look and the cut: microseconds.

    Args:
        descriptor: of a file that is printed into. One that is no file, or is not appended to, is left alone.
        bounds: its own.

    Raises:
        OSError: if it cannot be done; the file holds all that it held, some of it perhaps twice.
    """
    seen = os.fstat(descriptor)
    appended = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
    if not stat.S_ISREG(seen.st_mode) or not appended or seen.st_size <= bounds.most:
        return False
    # A descriptor of its own, since what is written by the other one is appended wherever it is put. By this path it
    # is the same file even if that was removed.
    with closing(_File(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR))) as file:
        # A step that begins or ends in this moment leads its streams to another one.
        if not os.path.samestat(os.fstat(file.descriptor), seen):
            return False
        _take_out(file, seen.st_size, bounds)
    return True


def _take_out(file: _File, size: int, bounds: Bounds) -> None:
    first = file.read(bounds.beginning + _NEAR, 0)
    # Only where a cut leaves it: what reads like it elsewhere was printed by somebody.
    before = NOTE.search(first, max(0, bounds.beginning - _NEAR - _CHARACTER))
    kept = before.start() if before else _line_end(first[: bounds.beginning])
    to = kept
    for _ in range(_TRIES):
        # Never from what was moved before: it is written over.
        come_from = max(size - bounds.end, to)
        come_from += _line_begin(file.read(_NEAR, come_from))
        left_out = come_from - (before.end() - int(before[1]) if before else kept)
        to = kept + file.write(b"\n[%d bytes were left out here]\n" % left_out, kept)
        # What is being printed in one piece holds up the first of these writes, and all of it is there after that.
        to, come_from = _move(file, come_from, to, 2 * bounds.end)
        if come_from >= (size := os.fstat(file.descriptor).st_size):
            break
    os.ftruncate(file.descriptor, to)


def _move(file: _File, come_from: int, to: int, most: int) -> tuple[int, int]:
    """Move at least ``most`` bytes of a file, or all to its end, to an earlier place; returns where each place ends."""
    until = come_from + most
    while come_from < until and (moved := file.read(_CHUNK, come_from)):
        come_from += len(moved)
        to += file.write(moved, to)
    return to, come_from


def _line_end(text: bytes) -> int:
    """Where the last whole line of a beginning ends; if that is far away, its last whole character."""
    if (newline := text.rfind(b"\n", len(text) - _NEAR)) >= 0:
        return newline + 1
    end = len(text)
    while end > max(0, len(text) - _CHARACTER) and _within_character(text[end - 1]):
        end -= 1
    return max(end - 1, 0)


def _line_begin(text: bytes) -> int:
    """Where the first whole line of an end begins; if that is far away, its first whole character."""
    if (newline := text.find(b"\n")) >= 0:
        return newline + 1
    return next((at for at, byte in enumerate(text[:_CHARACTER]) if not _within_character(byte)), 0)


def _within_character(byte: int) -> bool:
    """Whether a byte goes on a character of UTF-8 that began before it."""
    return byte & 0xC0 == 0x80


@dataclass(frozen=True)
class _File:
    """An open file, read and written at places."""

    descriptor: int

    def read(self, size: int, at: int) -> bytes:
        return os.pread(self.descriptor, size, at)

    def write(self, data: bytes, at: int) -> int:
        """Write all of it; returns how much that was."""
        written = 0
        while written < len(data):
            written += os.pwrite(self.descriptor, data[written:], at + written)
        return written

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.descriptor)

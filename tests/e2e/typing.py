"""A terminal in which a page's commands are typed one after the other, as whoever reads it types them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_()][0-9A-B]?)|\r|\x07")
ENDED = re.compile(r"<<ended (\d+)>>")
EXIT_CODE = re.compile(r"#.*\bexit code (\d+)")
CTRL_C = b"\x03"
ROWS, COLUMNS = 50, 160


@dataclass(frozen=True)
class Typed:
    """A command of a page, and what the page shows of its output.

    Attributes:
        command: one line, as it stands there.
        shown: the lines that the page shows after it; ``...`` in them stands for anything.
    """

    command: str
    shown: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """What the page says that it ends with, in a comment behind it; else 0."""
        said = EXIT_CODE.search(self.command)
        return int(said[1]) if said else 0

    @property
    def is_watched(self) -> bool:
        """Whether it goes on until somebody has seen enough."""
        return self.command.endswith("--watch")

    def missing(self, output: str) -> list[str]:
        """The lines of the page that a terminal did not show; where it broke a line does not matter."""
        flat = " ".join(output.split())
        return [line for line in self.shown if not re.search(_pattern(line), flat)]


def _pattern(line: str) -> str:
    return ".*?".join(re.escape(" ".join(part.split())) for part in line.split("..."))


def typed_in(page: str) -> list[Typed]:
    """The commands of a page, its indented lines, in order, each with the fenced block of text that follows it."""
    found: list[Typed] = []
    shown: list[str] | None = None
    for line in page.splitlines():
        if line.startswith("```"):
            if shown is not None:
                found[-1] = Typed(found[-1].command, tuple(shown))
            shown = [] if shown is None else None
        elif shown is not None:
            shown.append(line)
        elif line.startswith("    ") and line.strip():
            found.append(Typed(line.strip()))
    return found


class Terminal:
    """A shell on a terminal.

    Args:
        directory: where it begins.
        environment: its variables.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        # Written back after each command: how it ended.
        told = {**environment, "PS1": "", "PROMPT_COMMAND": 'printf "<<ended %s>>\\n" $?', "TERM": "xterm-256color"}
        self._pid, self._end = pty.fork()
        if not self._pid:  # pragma: no cover - another process
            os.chdir(directory)
            os.execve("/bin/bash", ["bash", "--noprofile", "--norc", "--noediting", "-i"], told)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def __enter__(self) -> Self:
        for seen in self._reads(20):
            if ENDED.search(seen):  # The shell is ready, and has said so of no command.
                break
        # What is typed is not printed: it says what its output is to say.
        self.type(Typed("stty -echo"), 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)
        os.waitpid(self._pid, 0)

    def type(self, typed: Typed, seconds: float) -> tuple[int, str]:
        """Type a command, leave one that goes on by Ctrl-C once it has shown what it is to show.

        Args:
            typed: the command.
            seconds: for it to end.

        Returns:
            Its exit code, and what was seen of it.

        Raises:
            TimeoutError: if it did not end; with the last that was seen.
        """
        os.write(self._end, f"{typed.command}\n".encode())
        seen, left = "", not typed.is_watched
        for seen in self._reads(seconds):
            if ended := ENDED.search(seen):
                return int(ended[1]), seen[: ended.start()]
            if not left and not typed.missing(seen):
                left = True
                os.write(self._end, CTRL_C)
        raise TimeoutError(f"{typed.command!r} did not end within {seconds:.0f} s; the last of it:\n{seen[-4000:]}")

    def _reads(self, seconds: float) -> Iterator[str]:
        """All that was seen so far, again and again, as more of it comes."""
        deadline, seen = time.monotonic() + seconds, b""
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._end], [], [], min(left, 1.0))[0]:
                seen += os.read(self._end, 65536)
                yield ESCAPES.sub("", seen.decode(errors="replace"))

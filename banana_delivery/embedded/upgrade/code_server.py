"""Dagster's code server, which ends when it is asked to, and whose runs go on by themselves.

    python -m banana_delivery.embedded.upgrade.code_server --socket=... --module-name=...

takes what `dagster api grpc` takes. That one waits at its end for the runs that are its children; supervisord loses its
patience and kills the whole group, and a delivery with it.

What it prints goes into a pipe that supervisord closes with its end. A run that outlives it would be ended by the next
line that it or a library of somebody else's prints, so runs print into a file of their own.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType

RUNS_LOG = "STACK_RUNS_LOG"
"""The variable that names the file into which runs print; without it they print where the server does."""
MOST_BYTES = 5_000_000
"""Of that file as a run begins; a longer one becomes the one before."""


def serve() -> None:
    """Serve until asked to end. Whoever asks it something in that moment asks again."""
    # Dagster does at SIGTERM what is done at SIGINT.
    signal.signal(signal.SIGINT, _end)
    sys.argv[1:1] = ["api", "grpc"]
    look_up_scripts_once()
    runpy.run_module("dagster", run_name="__main__")


def look_up_scripts_once() -> None:
    """Let Alembic remember where the scripts of Dagster's databases lie.

    It looks whenever an instance is opened, which Dagster does at each tick, and each time leaves something behind that
    only the end of the process clears: 2.6 KiB a tick, over 200 MB a day.
    """
    from alembic import util  # Not at the top: runs load this module, too, and open an instance once.

    with suppress(AttributeError):  # Another Alembic may have mended it, or moved it.
        util.coerce_resource_to_filename = cache(util.coerce_resource_to_filename)


def _end(_signal: int, _frame: FrameType | None) -> None:
    """Without what Python does at its end, where it waits for the children as well."""
    os._exit(0)


def print_into(log: Path) -> None:
    """From now on this process and those that it starts print into a file, or nowhere if there can be none."""
    with suppress(OSError):
        if log.stat().st_size > MOST_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


# A run is a process that begins with the server's main module, by this name: multiprocessing's way to "spawn".
if __name__ == "__mp_main__" and (named := os.environ.get(RUNS_LOG)):
    print_into(Path(named))
if __name__ == "__main__":
    serve()

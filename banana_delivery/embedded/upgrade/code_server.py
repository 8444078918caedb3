"""Dagster's code server, which ends when it is asked to, and whose runs go on by themselves.

    python -m banana_delivery.embedded.upgrade.code_server --socket=... --module-name=...

takes what `dagster api grpc` takes. That one waits at its end for the runs that are its children; supervisord loses its
patience and kills the whole group, and a delivery with it.

What it prints goes into a pipe that supervisord closes with its end. A run that outlives it would be ended by the next
line that it or a library of somebody else's prints, so each run prints into a file of its own.
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

from banana_delivery.embedded.output.run_log import print_into

RUNS_LOGS = "STACK_RUNS_LOGS"
"""The variable that names the folder of files into which runs print; without it they print where the server does."""


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


# A run is a process that begins with the server's main module, by this name: multiprocessing's way to "spawn".
if __name__ == "__mp_main__" and (named := os.environ.get(RUNS_LOGS)):
    print_into(Path(named))
if __name__ == "__main__":
    serve()

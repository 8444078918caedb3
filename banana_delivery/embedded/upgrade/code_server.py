"""Dagster's code server, which ends when it is asked to, and whose runs go on by themselves.

    python -m banana_delivery.embedded.upgrade.code_server --socket=... --module-name=...

takes what `dagster api grpc` takes. That one waits at its end for the runs that are its children; supervisord loses its
patience and kills the whole group, and a delivery with it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from types import FrameType


def serve() -> None:
    """Serve until asked to end. Whoever asks it something in that moment asks again."""
    # Dagster does at SIGTERM what is done at SIGINT.
    signal.signal(signal.SIGINT, _end)
    sys.argv[1:1] = ["api", "grpc"]
    runpy.run_module("dagster", run_name="__main__")


def _end(_signal: int, _frame: FrameType | None) -> None:
    """Without what Python does at its end, where it waits for the children as well."""
    os._exit(0)


if __name__ == "__main__":
    serve()

"""Dagster's code server, which ends when it is asked to, and whose runs go on by themselves.

    python -m banana_delivery.embedded.upgrade.code_server --socket=... --module-name=...

takes what `dagster api grpc` takes. That one waits at its end for the runs that are its children; supervisord loses its
patience and kills the whole group, and a delivery with it.
"""

from __future__ import annotations

import os
import runpy
import sys


def serve() -> None:
    """Serve until asked to end; what Python would do at its end is left out, as it waits for the children there."""
    sys.argv[1:1] = ["api", "grpc"]
    try:
        runpy.run_module("dagster", run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


if __name__ == "__main__":
    serve()

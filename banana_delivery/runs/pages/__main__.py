"""Serves the pages, in place of dagster-webserver: ``python -m banana_delivery.runs.pages --workspace FILE``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import dagster as dg
import uvicorn

from banana_delivery.errors import BananaDeliveryError
from banana_delivery.runs.pages.app import dagster_pages, guarded, open_workspace
from banana_delivery.runs.pages.database import look_before_use
from banana_delivery.settings import load_settings

STATEMENT_MILLISECONDS = 15_000
"""How long a statement may take in the instance's database."""
RECYCLE_SECONDS = 3600
"""After which a connection to it is made anew."""
MOST_CONNECTIONS = 20
"""To it, beside those that are kept open. These three are the defaults of dagster-webserver."""


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m banana_delivery.runs.pages", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--workspace", type=Path, required=True, help="Dagster's workspace.yaml")
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings()
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_MILLISECONDS, RECYCLE_SECONDS, MOST_CONNECTIONS)
        look_before_use()
        with open_workspace(instance, told.workspace) as workspace:
            uvicorn.run(
                guarded(dagster_pages(workspace), settings),
                host=told.host,
                port=told.port,
                log_level="warning",
                server_header=False,
                # Who is at the other end is the address that the connection has, whatever a header says.
                proxy_headers=False,
            )


if __name__ == "__main__":
    try:
        main()
    except BananaDeliveryError as error:
        sys.exit(str(error))

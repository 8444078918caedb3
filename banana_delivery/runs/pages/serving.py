"""Serving the pages, in place of dagster-webserver, with pages of our own beside them if there are any."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import uvicorn
from starlette.types import ASGIApp

from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.pages.app import dagster_pages, guarded, open_workspace
from banana_delivery.runs.pages.database import look_before_use
from banana_delivery.settings import Settings, load_settings

STATEMENT_MILLISECONDS = 15_000
"""How long a statement may take in the instance's database."""
RECYCLE_SECONDS = 3600
"""After which a connection to it is made anew."""
MOST_CONNECTIONS = 20
"""To it, beside those that are kept open. These three are the defaults of dagster-webserver."""
Beside = Callable[[Settings, AuditLog], ASGIApp]
"""Makes the pages of our own."""


def serve(program: str, beside: Beside | None = None) -> None:
    """Serve until told to stop.

    Args:
        program: what was typed, for who asks how it is used.
        beside: makes pages of our own, which the same guard stands before.

    Raises:
        BadSettingsError: if a variable has a value that cannot be used.
    """
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
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
            ours = beside(settings, AuditLog(instance, CodeLocation.of(settings).to_show())) if beside else None
            uvicorn.run(
                guarded(dagster_pages(workspace), settings, ours),
                host=told.host,
                port=told.port,
                log_level="warning",
                server_header=False,
                # Who is at the other end is the address that the connection has, whatever a header says.
                proxy_headers=False,
            )

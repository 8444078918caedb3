"""Dagster's application with the guard before it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp
from typing_extensions import override

from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.pages.callers import Callers
from banana_delivery.runs.pages.guard import MAY_CHANGE, Guard
from banana_delivery.runs.pages.reports import Reports
from banana_delivery.settings import Settings

POLL_MILLISECONDS = 2000
"""How often the pages ask for what is new; Dagster's own default."""


class Workspace(WorkspaceProcessContext):
    """The code locations that the pages show, with buttons for those who may press them."""

    @override
    def create_request_context(self, source: object | None = None) -> WorkspaceRequestContext:
        """What one request works with; whoever did not come through the guard may only look."""
        may_change = isinstance(source, HTTPConnection) and bool(source.scope.get(MAY_CHANGE))
        return WorkspaceRequestContext(
            instance=self.instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=not may_change,
        )


def open_workspace(instance: dg.DagsterInstance, file: Path) -> Workspace:
    """The workspace of a file, to be entered and left."""
    return Workspace(instance, WorkspaceFileTarget(paths=[str(file)]), version=__version__)


def dagster_pages(workspace: Workspace) -> ASGIApp:
    """Dagster's own application, which lets in everybody."""
    pages = DagsterWebserver[Workspace, WorkspaceRequestContext](workspace, live_data_poll_rate=POLL_MILLISECONDS)
    return pages.create_asgi_app()


def guarded(pages: ASGIApp, settings: Settings, ours: ASGIApp | None = None) -> Guard:
    """The same with the reports beside it, and pages of our own if there are any, as the settings let people use it."""
    return Guard(
        Reports(pages, settings.home / "reports", CodeLocation.of(settings)),
        Callers.of(settings),
        read_only=settings.pages_read_only,
        edit_history=settings.pages_edit_history,
        ours=ours,
    )

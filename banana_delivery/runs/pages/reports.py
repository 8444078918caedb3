"""The reports of attempts and the scorecard, served beside the pages: a link to one opens wherever the pages do."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from banana_delivery.names import SCORECARD_PAGE
from banana_delivery.runs.code_location import ROLLOUT_LOG, CodeLocation

PREFIX = "/reports/"
SCORECARD_PATH = "/reports/scorecard"
_ATTEMPT = re.compile(r"/reports/(?P<version>[\w~.-]{1,120})/(?P<attempt>\d{1,12}-[a-z_]{1,20})", re.ASCII)
HEADERS = {
    # A report is one file that needs nothing beside it, and runs nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


class Reports:
    """Stands before Dagster's application, behind the guard.

    Args:
        app: the application, which gets everything else.
        folder: of the reports.
        location: knows the key of the audit trail, which has what a report that is gone said.
    """

    def __init__(self, app: ASGIApp, folder: Path, location: CodeLocation) -> None:
        self._app = app
        self._folder = folder
        self._trail = "/".join(location.key(ROLLOUT_LOG).path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a report, or with the way to the audit trail where it is not here."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(PREFIX) or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        await self._answer(path)(scope, receive, send)

    def _answer(self, path: str) -> Response:
        if path == SCORECARD_PATH:
            return self._page(SCORECARD_PAGE) or _none("There is no scorecard yet.")
        named = _ATTEMPT.fullmatch(path)
        if named is None or named["version"].startswith("."):
            return _none("There is no such report.")
        version = named["version"].replace("~", "%")
        found = self._page(f"version-{version}-{named['attempt']}.html")
        return found or RedirectResponse(trail_of(self._trail, version), 303)

    def _page(self, name: str) -> Response | None:
        file = self._folder / name
        if file.is_symlink() or not file.is_file():
            return None
        return FileResponse(file, headers=HEADERS, media_type="text/html; charset=utf-8")


def _none(sentence: str) -> Response:
    return Response(sentence, 404, media_type="text/plain")


def trail_of(asset: str, version: str) -> str:
    """Where Dagster's pages show the audit trail of one version, which is quoted already; a path of theirs."""
    return f"/assets/{quote(asset)}?partition={quote(version, safe='%')}&view=partitions"

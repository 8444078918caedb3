"""The short way to the one request that is made a thousand times as often as all others together.

FastAPI takes every request through a dozen middlewares, routers and parameter solvers. Beside a network that fills the
CPU's caches they took a quarter of the time that HTTP costs. `POST /predict` without query parameters needs none of
them; with parameters, and for everything else, FastAPI validates, answers and describes.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Request, Exception], Response]


class Shortcut:
    """Answers `POST path` by `handler` if there is no query, and leaves the rest to `app`."""

    def __init__(self, app: ASGIApp, path: str, handler: Handler, on_error: ErrorHandler) -> None:
        self._app = app
        self._path = path
        self._handler = handler
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if not self._takes(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._handler(request)
        except Exception as error:  # noqa: BLE001 - the outermost layer: what goes wrong becomes an answer
            response = self._on_error(request, error)
        await response(scope, receive, send)

    def _takes(self, scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope["path"] == self._path
            and scope["method"] == "POST"
            and not scope["query_string"]
        )

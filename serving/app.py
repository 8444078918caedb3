"""Puts the application together: routes, error answers, start and stop."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import RequestError, invalid_request, quoted
from serving.http import predictions, status
from serving.http.docs import LICENCE, add_docs, described
from serving.http.envelope import CLIENT_CLOSED_REQUEST, Envelope
from serving.http.ports import ByPort
from serving.http.schemas import ErrorDetail, ErrorResponse
from serving.http.shortcut import ErrorHandler, Shortcut
from serving.replica import Replica

logger = logging.getLogger("serving")

TOLD_PROBLEMS = 5

DESCRIPTION = (
    "Finds objects in images with one version of an exported detector. "
    "Every answer says which model version and which image digest gave it."
)
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


class AnswerFailures:
    """Turns what no handler knows into an answer, on this side of Starlette's own outermost layer.

    A handler registered for `Exception` would run in that layer, which raises the exception again once it is answered,
    so that the server logs it too: every failure would be in the log twice, the second time without its request.
    """

    def __init__(self, app: ASGIApp, on_error: ErrorHandler) -> None:
        self._app = app
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http":  # start and stop have nobody to answer
                raise
            await self._on_error(Request(scope), error)(scope, receive, send)


def create_app(replica: Replica) -> Envelope:
    """Returns the ASGI application; it starts by loading the model."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Nobody is listening yet, so a router that has no idea of readiness tries another replica. A listening one that
        # still loads would have to turn its request away.
        await asyncio.to_thread(replica.load)
        yield
        await asyncio.to_thread(replica.close)

    source_url = replica.settings.source_url
    api = FastAPI(
        title="Banana detector",
        version="1",
        description=described(DESCRIPTION, source_url),
        lifespan=lifespan,
        license_info={"name": LICENCE, "identifier": LICENCE},
        # FastAPI's own pages load their scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        # A redirect would name the host and scheme that this process sees, and take the image there in the open.
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    api.include_router(predictions.router(replica))
    api.include_router(status.router(replica))
    internal_port = replica.settings.internal_port
    api.include_router((status.users_router if internal_port else status.internal_router)(replica))
    add_docs(api, source_url)
    on_error = partial(_answer_error, replica)
    _answer_errors(api, on_error)
    app: ASGIApp = Shortcut(api, "/predict", partial(predictions.predict, replica), on_error)
    if internal_port:
        app = ByPort(app, _internal_app(replica, on_error), internal_port)
    return Envelope(app, replica.identity, replica.lifecycle, replica.metrics, replica.settings.probe_token)


def _internal_app(replica: Replica, on_error: ErrorHandler) -> FastAPI:
    """What answers on the internal port: nothing that a user asks for, so that nobody routes users there."""
    title = "Banana detector, for whoever runs it"
    api = FastAPI(title=title, openapi_url=None, redirect_slashes=False, telemetry=_NO_TELEMETRY)
    api.include_router(status.router(replica))
    api.include_router(status.internal_router(replica))
    _answer_errors(api, on_error)
    return api


def _answer_errors(api: FastAPI, on_error: ErrorHandler) -> None:
    """Gives every error the one documented shape."""
    api.add_middleware(AnswerFailures, on_error=on_error)

    @api.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(map(_what_is_wrong, error.errors()[:TOLD_PROBLEMS]))
        return _error_response(request, invalid_request(f"{problems}."))

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        response = _error_response(request, RequestError(error.status_code, "http_error", error.detail))
        response.headers.update(error.headers or {})
        return response


def _what_is_wrong(problem: dict[str, Any]) -> str:
    """A part of a sentence about one parameter, whose name may be the client's."""
    name = quoted(str(problem["loc"][-1]))
    if problem["type"] == "extra_forbidden":
        return f"There is no parameter {name}; /docs shows which there are"
    return f"Parameter {name}: {problem['msg']}"


def _answer_error(replica: Replica, request: Request, error: Exception) -> Response:
    """Answers what a route that predicts may raise."""
    if isinstance(error, RequestError):
        # A readiness check is no request that was turned away.
        if error.retry_after is not None and request.url.path in predictions.ROUTES:
            replica.metrics.overload.labels(request.state.traffic).inc()
        return _error_response(request, error)
    if isinstance(error, ClientDisconnect):
        gone = RequestError(CLIENT_CLOSED_REQUEST, "client_closed_request", "The client went away.")
        return _error_response(request, gone)
    logger.error("Request %s failed.", request.state.request_id, exc_info=error)
    message = "This replica failed to answer; its log has the details under this request id."
    return _error_response(request, RequestError(500, "internal_error", message))


def _error_response(request: Request, error: RequestError) -> Response:
    body = ErrorResponse(request_id=request.state.request_id, error=ErrorDetail(code=error.code, message=error.message))
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return Response(body.model_dump_json(), error.status, headers, media_type="application/json")

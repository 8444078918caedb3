"""Who may ask the pages for what. A page of somebody else's, open in the same browser, is a stranger like any other.

Everything is refused that is not known to be harmless or asked for by somebody who may. What is let in is executed by
Dagster as it was judged: the same bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from banana_delivery.errors import RefusedError
from banana_delivery.runs.pages.callers import Callers
from banana_delivery.runs.pages.documents import HISTORY, SEEN, WORK, Asked, asked_by

LOG = logging.getLogger(__name__)
GRAPHQL = "/graphql"
OURS = "/delivery"
"""Below it lie pages of our own, which only show; but for one address, nothing is sent to them."""
DECIDE = "/delivery/decide"
"""To it a person sends what he decides, where the settings say who may."""
INFO = "/server_info"
"""Versions of Dagster and nothing else: what probes ask, who know no name of ours and have no login."""
REPORTS = ("/report_asset_materialization/", "/report_asset_check/", "/report_asset_observation/")
MAY_CHANGE = "banana_delivery.may_change"
"""In the scope of a request, for Dagster, which then shows or hides its buttons."""
PERSON = "banana_delivery.person"
"""The same for pages of our own: who asks, where a proxy that is believed says so; empty otherwise."""
MOST_DECIDED_BYTES = 16 * 2**10
"""Of a decision: a sentence and some names."""
MOST_BYTES = 8 * 2**20
"""Of a request's body. A backfill names its partitions, a megabyte for a hundred thousand."""
HEADERS = {
    # Beside Dagster's own policy, which says nothing about these. Both hold.
    "Content-Security-Policy": "frame-ancestors 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Nobody frames the pages or reads from them, and text that Dagster shows loads no picture from elsewhere."""


class Guard:
    """Stands before Dagster's application.

    Args:
        app: the application.
        callers: who is who.
        read_only: whether it only shows, except to the command line.
        edit_history: whether what Dagster holds may be reported, wiped and deleted.
        ours: the pages of our own below ``OURS``; None if there are none.
    """

    def __init__(
        self,
        app: ASGIApp,
        callers: Callers,
        *,
        read_only: bool = False,
        edit_history: bool = False,
        ours: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self._ours = ours
        self._callers = callers
        self._read_only = read_only
        self._edit_history = edit_history

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in or answer it with one sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            if scope["type"] == "websocket":
                await self._socket(scope, receive, send)
            elif scope["type"] == "http":
                await self._request(scope, receive, send)
        except RefusedError as refused:
            what = scope.get("method", "a socket")
            LOG.warning("Refused %a of %a from %s: %s", what, scope["path"], peer(scope), refused)
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                said = {"data": None, "errors": [{"message": str(refused)}]}
                await JSONResponse(said, refused.status, HEADERS)(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = _plain(scope["path"]), scope["method"]
        if method not in {"GET", "HEAD", "POST"}:
            raise RefusedError(405, "The pages are asked by GET and POST alone.")
        if path == INFO and method != "POST":
            await self._app(scope, receive, _with_headers(send))
            return
        person = self._known(scope)
        scope[PERSON] = "" if person == self._callers.COMMAND_LINE or not scope[MAY_CHANGE] else person
        if self._ours and (path == OURS or path.startswith(f"{OURS}/")):
            await self._shown(self._ours, scope, receive, send)
            return
        if method == "POST" or path == GRAPHQL:
            self._callers.refuse_foreign_page(scope)
        if method == "POST":
            receive = await self._posted(scope, path, receive, person)
        elif path == GRAPHQL:
            self._got(scope)
        await self._app(scope, receive, _with_headers(send))

    async def _shown(self, ours: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """A page of our own, or what it asks for: that it tells no page of somebody else's."""
        if scope["method"] == "POST":
            receive = await self._decided(scope, receive)
        elif scope["path"] != OURS and Headers(scope=scope).get("sec-fetch-dest", "empty") != "document":
            self._callers.refuse_foreign_data(scope)
        await ours(scope, receive, _with_headers(send))

    async def _decided(self, scope: Scope, receive: Receive) -> Receive:
        """What a person decides who has logged in, sent by our own page as JSON: no other page can do that for him."""
        if scope["path"] != DECIDE:
            raise RefusedError(405, "Nothing is sent to this page; it only shows.")
        if not scope[PERSON]:
            raise RefusedError(403, "Only who has logged in decides here; use the command line.")
        self._callers.refuse_foreign_page(scope)
        _refuse_forms(scope)
        return _again(await _read(receive, MOST_DECIDED_BYTES), receive)

    def _known(self, scope: Scope) -> str:
        self._callers.refuse_unknown_host(scope)
        person = self._callers.person(scope)
        scope[MAY_CHANGE] = not self._read_only or person == self._callers.COMMAND_LINE
        return person

    def _got(self, scope: Scope) -> None:
        """A browser asks by GET for whoever shows it a link or a picture."""
        queries = QueryParams(scope["query_string"]).getlist("query")
        if len(queries) > 1:
            raise RefusedError(400, "A request holds one query.")
        for query in queries:
            if not _asked(query).only_reads:
                raise RefusedError(405, "Nothing is changed and nothing followed by GET.")

    async def _posted(self, scope: Scope, path: str, receive: Receive, person: str) -> Receive:
        """Read and judge a body, and give it to the application as it is."""
        _refuse_forms(scope)
        body = await _read(receive, MOST_BYTES)
        if path == GRAPHQL:
            changes = self._judge(_document(body), scope).changes
            if changes - SEEN:
                LOG.info("%a asks from %s: %s", person or "nobody known", peer(scope), ", ".join(sorted(changes)))
        elif not (self._edit_history and scope[MAY_CHANGE] and path.startswith(REPORTS)):
            raise RefusedError(403, "Nothing but GraphQL is sent to these pages; see BANANA_PAGES_EDIT_HISTORY.")
        return _again(body, receive)

    def _judge(self, document: str, scope: Scope) -> Asked:
        asked = _asked(document)
        if not scope[MAY_CHANGE] and asked.changes - SEEN:
            raise RefusedError(403, "These pages only show; use the command line, or see BANANA_PAGES_READ_ONLY.")
        allowed = WORK | HISTORY if self._edit_history else WORK
        if strange := asked.changes - allowed:
            # Fields are names of GraphQL, so they hold nothing that would have to be quoted.
            raise RefusedError(
                403, f"{', '.join(sorted(strange))} would change what gates go by; see BANANA_PAGES_EDIT_HISTORY."
            )
        return asked

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Subscriptions, and nothing that changes anything."""
        if _plain(scope["path"]) != GRAPHQL:
            raise RefusedError(404, "There is no socket here.")
        self._known(scope)
        self._callers.refuse_foreign_page(scope)

        async def judged() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive" or _only_reads(message):
                return message
            LOG.warning("Closed a socket from %s that wanted to change something.", peer(scope))
            await send({"type": "websocket.close", "code": 1008})
            return {"type": "websocket.disconnect", "code": 1008}

        await self._app(scope, judged, send)


def peer(scope: Scope) -> str:
    """Who is at the other end of the connection: an address, never what he says of himself."""
    return str((scope.get("client") or ("an unknown address",))[0])


def _plain(path: str) -> str:
    """A path that leads where it says: routers take a line break at its end for nothing."""
    if any(ord(letter) < 32 or letter in "\\\x7f" for letter in path) or ".." in path.split("/"):
        raise RefusedError(400, "There is no such page.")
    return path


def _asked(document: str) -> Asked:
    try:
        return asked_by(document)
    except ValueError as error:
        raise RefusedError(400, f"The query cannot be taken: {error}.") from error


def _document(body: bytes) -> str:
    """The document of a request, of which there is one: lists of requests are nothing that Dagster knows."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "This is no JSON.") from error
    if not isinstance(said, dict) or not isinstance(said.get("query"), str):
        raise RefusedError(400, "A request is an object with one query.")
    return str(said["query"])


def _only_reads(message: Message) -> bool:
    """Whether a message of a socket can change nothing; what cannot be read could be anything."""
    try:
        said = json.loads(message["text"])
        document = said["payload"]["query"] if said.get("type") == "start" else None
        return document is None or not asked_by(document).changes
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return False


def _refuse_forms(scope: Scope) -> None:
    kinds = Headers(scope=scope).getlist("content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        # What a form can send, or a script without asking the pages first, is text/plain or a form's.
        raise RefusedError(415, "What is sent to the pages has to be application/json.")


async def _read(receive: Receive, most: int) -> bytes:
    parts = [part async for part in _parts(receive, most)]
    return b"".join(parts)


async def _parts(receive: Receive, most: int) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RefusedError(400, "The request broke off.")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise RefusedError(413, f"More than {most // 2**10:,} KiB are not read.")
        yield part
        if not message.get("more_body", False):
            return


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, and then whatever comes after it."""
    left: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def once_more() -> Message:
        return next(left, None) or await receive()

    return once_more


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                if name != "Content-Security-Policy":
                    headers[name] = value
            headers.append("Content-Security-Policy", HEADERS["Content-Security-Policy"])
        await send(message)

    return sent

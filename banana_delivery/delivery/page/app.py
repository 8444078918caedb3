"""The page's application: three files, what is new, what was, and what people decide, which is passed on."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import islice

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from banana_delivery.delivery.live.looking import look_again, look_around
from banana_delivery.delivery.page.asking import Asking
from banana_delivery.delivery.page.feed import Feed
from banana_delivery.delivery.page.scores import Scores
from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.errors import RefusedError
from banana_delivery.names import SCORECARD_PAGE
from banana_delivery.notifications.messages import report_path
from banana_delivery.platforms import platform
from banana_delivery.policy import commands
from banana_delivery.policy.approvals.going_on import awaits_approval
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment
from banana_delivery.reports.overview import Json, Overview
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.expiry import HOUR_SECONDS
from banana_delivery.runs.evidence.invitations import PARAMETER, Invitation, read
from banana_delivery.runs.evidence.requests import Requests
from banana_delivery.runs.pages.guard import DECIDE, PERSON
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

AT_ONCE = 50
"""Attempts that are told at once."""
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": STRICT,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
KINDS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_SHOWN = {"version", "outcome", "reason", "digest", "at", "seconds", "run_id", "trigger", "actor", "requests", "failed"}
MAY = (
    "To decide something, type: banana-delivery approve, override, withdraw, rollback, pause, resume, abort, freeze or "
    "unfreeze, each with --reason."
)


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        settings: whose pipeline.
        target: where releases run.
        log: the audit trail; one that is only shown, where this process has not the keys of records.
    """

    settings: Settings
    target: ReleaseTarget
    log: AuditLog

    def app(self) -> Starlette:
        """As an application below ``/delivery``."""
        kept_scores = Scores(self.log)
        asking = Asking(Requests(self.log.instance, self.log.location), self.settings.pages_deciders)

        def around() -> Overview:
            beat, seen = asking.look(), self._around()
            owner = next((one.owner for one in seen.records if one.environment is Environment.PRODUCTION), None)
            return replace(seen, beat=beat, pause=self.log.pause(owner) if owner else None)

        feed = Feed(around, lambda before: look_again(before, self.target), self._more)

        async def events(_: Request) -> Response:
            headers = {**HEADERS, "X-Accel-Buffering": "no"}  # nginx keeps a page waiting otherwise.
            return StreamingResponse(_begun(feed.watch()), media_type="text/event-stream", headers=headers)

        async def now(_: Request) -> Response:
            return Response(await feed.now(), media_type="application/json", headers=HEADERS)

        async def history(request: Request) -> Response:
            offset = request.query_params.get("offset", "0")
            if not re.fullmatch(r"\d{1,6}", offset, re.ASCII):
                raise RefusedError(400, "An offset is a number.")
            return JSONResponse(await asyncio.to_thread(self._history, int(offset)), headers=HEADERS)

        async def invited(request: Request) -> Response:
            text = request.query_params.get(PARAMETER, "")
            try:
                answer = await asyncio.to_thread(self._invited, read(text, self.log.location))
            except RefusedError as refused:
                answer = {"said": str(refused)}
            return JSONResponse(answer, headers=HEADERS)

        async def scores(_: Request) -> Response:
            return JSONResponse(await asyncio.to_thread(kept_scores.told), headers=HEADERS)

        async def who(request: Request) -> Response:
            return JSONResponse(asking.who(request.scope.get(PERSON, "")), headers=HEADERS)

        async def decide(request: Request) -> Response:
            try:
                status, answer = await asking.decide(request.scope.get(PERSON, ""), _json(await request.body()))
            except RefusedError as refused:
                status, answer = refused.status, {"done": False, "said": str(refused)}
            return JSONResponse(answer, status, headers=HEADERS)

        return Starlette(
            routes=[
                Route("/delivery", _file("page.html")),
                Route("/delivery/page.css", _file("page.css")),
                Route("/delivery/page.js", _file("page.js")),
                Route("/delivery/events", events),
                Route("/delivery/now", now),
                Route("/delivery/history", history),
                Route("/delivery/scores", scores),
                Route("/delivery/invited", invited),
                Route("/delivery/who", who),
                Route(DECIDE, decide, methods=["POST"]),
            ],
            exception_handlers={RefusedError: _refused},
        )

    def _around(self) -> Overview:
        return look_around(self.settings, self.target, self.log)

    def _more(self, seen: Overview) -> Json:
        latest = seen.attempts[0] if seen.attempts else None
        pause = seen.pause and seen.pause.model_dump(mode="json", include={"run_id", "by", "reason", "at"})
        return {
            "model": self.settings.model_name,
            "may": MAY,
            "scorecard": (self.settings.home / "reports" / SCORECARD_PAGE).is_file(),
            "latest": f"{latest.run_id} {latest.at}" if latest else "",
            "asks": asks_for(seen.attempts),
            "beat": seen.beat,
            "pause": pause,
        }

    def _history(self, offset: int) -> Json:
        page = list(islice(self.log.each_readable(), offset, offset + AT_ONCE + 1))
        return {"attempts": [self._told(one) for one in page[:AT_ONCE]], "more": len(page) > AT_ONCE}

    def _invited(self, to: Invitation) -> Json:
        """What a link of ours is about, while that waits; else why there is nothing to decide.

        How old it is, is told by two clocks: it only closes what the page's own button leaves open.
        """
        version = to.version
        latest = next(self.log.each_readable(version), None)
        if latest is None or not awaits_approval(latest) or Invitation.about(latest) != to:
            how = f" Its latest attempt: {latest.outcome.replace('_', ' ')}." if latest else ""
            return {"said": f"What this link asked about version {version} waits no more.{how}"}
        hours = self.settings.decision_hours
        if time.time() - to.at > hours * HOUR_SECONDS:
            return {"said": f"This link is older than {hours:g} h; look whether version {version} should still go on."}
        return {"said": "", "version": version, "digest": to.digest, "type": commands.approve(version)}

    def _told(self, attempt: AttemptRecord) -> Json:
        shown = attempt.model_dump(mode="json", include=_SHOWN)
        return {**shown, "report": report_path(attempt) if report_file(self.settings, attempt).is_file() else ""}


def asks_for(attempts: Sequence[AttemptRecord]) -> list[Json]:
    """The versions that wait for a person by their latest attempt, each with the image that he would let in.

    Args:
        attempts: the latest ones, newest first.
    """
    latest: dict[str, AttemptRecord] = {}
    for attempt in attempts:
        latest.setdefault(attempt.version, attempt)
    waiting = [one for one in latest.values() if awaits_approval(one)]
    return [{"version": one.version, "digest": one.digest, "reason": one.reason} for one in waiting]


def page_app(settings: Settings, log: AuditLog) -> Starlette:
    """The page of a pipeline, where its releases run.

    Raises:
        BadSettingsError: if what the chosen target needs is not set.
    """
    _, target = platform(settings).parts(settings)
    return Page(settings, target, log).app()


async def _begun(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events, after a word that tells how soon to come again when the connection is lost."""
    yield "retry: 2000\n\n"
    try:
        async for event in events:
            yield event
    except RefusedError as refused:
        yield f": {refused}\n\n"


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = files("banana_delivery.delivery.page").joinpath("static", name).read_bytes()

    async def give(_: Request) -> Response:
        return Response(content, media_type=KINDS[name], headers=HEADERS)

    return give


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "This is no JSON.") from error


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 500
    return PlainTextResponse(str(error), status, HEADERS)

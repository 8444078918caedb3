"""The service that MLflow's webhooks reach. All it does is ring: whoever listens asks MLflow itself what is so.

Everything a caller may hold is bounded: the head (uvicorn's parser), the body, the time of a connection, their number,
and how many deliveries are looked at in a second.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from banana_delivery.errors import WebhookRefusedError
from banana_delivery.model_registry.webhooks.deliveries import DELIVERY_ID, Memory, News, authentic, concerns
from banana_delivery.model_registry.webhooks.secret import listening_token
from banana_delivery.waiting import SYSTEM_CLOCK, Clock

LOG = logging.getLogger(__name__)
MOST_BYTES = 256 * 1024
"""Of a body. An event about an alias has 300; one about a tag repeats its value, which may be large."""
BODY_SECONDS = 5.0
"""In which a body has to be there."""
CONNECTION_SECONDS = 15.0
"""After which a connection ends, whatever happens on it; whoever listens comes again sooner."""
MOST_CONNECTIONS = 64
A_SECOND, AT_ONCE = 20.0, 60.0
"""Deliveries that are looked at. MLflow tries again what was refused for that, and the sensor looks anyway."""
MOST_LISTENERS = 8
LISTENING_SECONDS = 10.0
"""The longest that somebody may listen before he asks again."""


class Rings:
    """How often it rang, and waiting for the next time."""

    def __init__(self) -> None:
        # A receiver that starts anew does not know what it missed, so that it counts as having rung.
        self._start = secrets.token_hex(8)
        self._count = 0
        self._next = asyncio.Event()
        self.listeners = 0

    @property
    def heard(self) -> str:
        """What changes with each ring."""
        return f"{self._start}.{self._count}"

    def ring(self) -> None:
        """Wake whoever waits."""
        self._count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, heard: str, seconds: float) -> str:
        """Return once it has rung since ``heard``, or after so many seconds."""
        self.listeners += 1
        try:
            async with asyncio.timeout(seconds):
                while heard == self.heard:
                    await self._next.wait()
        except TimeoutError:
            pass
        finally:
            self.listeners -= 1
        return self.heard


@dataclass
class Allowance:
    """So many in a second, and so many more at once after a pause."""

    clock: Clock
    left: float = AT_ONCE
    at: float | None = None

    def take(self) -> None:
        """Take one.

        Raises:
            WebhookRefusedError: if none is left.
        """
        now = self.clock.monotonic()
        self.left = min(AT_ONCE, self.left + A_SECOND * (now - (now if self.at is None else self.at)))
        self.at = now
        if self.left < 1:
            raise WebhookRefusedError(429, "Too many deliveries; nothing is lost, the registry is looked at anyway.")
        self.left -= 1


class Receiver:
    """Takes deliveries, and rings for each that is signed, new and about our model.

    Args:
        model_name: the registered model that is delivered.
        secret: with which MLflow signs.
        clock: by which deliveries are counted and found to be late.
    """

    def __init__(self, model_name: str, secret: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._model_name = model_name
        self._secret = secret
        self._token = f"Bearer {listening_token(secret)}".encode()
        self._clock = clock
        self._memory = Memory()
        self._allowance = Allowance(clock)
        self.rings = Rings()

    async def deliver(self, request: Request) -> Response:
        """What MLflow sends."""
        try:
            self._allowance.take()
            delivery = authentic(self._secret, request.headers, await _body(request))
            rang = self._judge(delivery.body, self._memory.judge(delivery, self._clock.monotonic()))
        except WebhookRefusedError as refusal:
            LOG.info("Refused %s: %s", request.headers.get(DELIVERY_ID, "a delivery")[:100], refusal)
            return _answer(refusal.status, str(refusal))
        return _answer(200, "It rang." if rang else "There was nothing to do.")

    async def listen(self, request: Request) -> Response:
        """For the sensor: how often it rang, at once or when that is no longer ``heard``."""
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._token):
            return _answer(401, "Whoever listens shows the token that the secret makes.")
        if self.rings.listeners >= MOST_LISTENERS:
            return _answer(503, "Enough others listen.")
        try:
            seconds = float(request.query_params.get("seconds", "0"))
        except ValueError:
            seconds = 0.0
        # Not a number compares with nothing, so that it is no time either.
        bounded = min(seconds, LISTENING_SECONDS) if seconds > 0 else 0.0
        heard = await self.rings.wait(request.query_params.get("heard", ""), bounded)
        return JSONResponse({"heard": heard}, headers=CLOSE)

    async def health(self, _: Request) -> Response:
        """For whoever started the service."""
        return _answer(200, "It listens.")

    def _judge(self, body: bytes, news: News) -> bool:
        """Ring if there is a reason.

        Raises:
            WebhookRefusedError: if the delivery is late.
        """
        if news is News.OLD:
            LOG.warning(
                "A signed delivery is older than others before it. If MLflow's clock was set back, start the receiver "
                "again; until then the sensor looks at its own times only."
            )
            raise WebhookRefusedError(409, "It is older than what was delivered before it.")
        rings = concerns(body, self._model_name) and news is News.NEW
        if rings:
            self.rings.ring()
        return rings


CLOSE = {"Connection": "close"}
"""A connection is for one request, so that nobody keeps one."""


def _answer(status: int, said: str) -> Response:
    headers = {**CLOSE, **({"Retry-After": "1"} if status in {429, 503} else {})}
    return JSONResponse({"said": said}, status_code=status, headers=headers)


async def _body(request: Request) -> bytes:
    """The body, as far as anybody may send.

    Raises:
        WebhookRefusedError: if it is too long, or takes too long.
    """
    too_large = WebhookRefusedError(413, f"No event of MLflow's that counts has more than {MOST_BYTES} bytes.")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or len(announced) > len(str(MOST_BYTES)) or int(announced) > MOST_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise too_large
    except TimeoutError:
        raise WebhookRefusedError(408, f"The body was not there within {BODY_SECONDS:.0f} s.") from None
    return bytes(body)


def receiver_app(receiver: Receiver) -> Starlette:
    """The service, as uvicorn runs it."""
    return Starlette(
        routes=[
            Route("/mlflow", receiver.deliver, methods=["POST"]),
            Route("/rings", receiver.listen, methods=["GET"]),
            Route("/health", receiver.health, methods=["GET"]),
        ]
    )


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 on connections that end after a while, also where a head never ends or an answer is not read."""

    _end: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(CONNECTION_SECONDS, transport.abort)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._end:
            self._end.cancel()
        super().connection_lost(exc)

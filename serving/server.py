"""The HTTP server: uvicorn, taught to stop without losing a request and not to wait for silent clients."""

import asyncio
import signal
import time
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.app import create_app
from serving.replica import Replica
from serving.settings import Settings


class DrainingServer(uvicorn.Server):
    """Stops in three steps on SIGTERM: readiness false, a pause in which requests are still accepted, then drain.

    The pause outlasts the time the router needs to notice. Responses carry `Connection: close` meanwhile, so that no
    client sends its next request into a connection that is about to end. Then the process exits with 0.
    """

    def __init__(self, config: uvicorn.Config, replica: Replica) -> None:
        super().__init__(config)
        self._replica = replica
        self._stop_at: float | None = None

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Begins to stop; a second SIGINT stops at once."""
        if self._stop_at is not None and sig == signal.SIGINT:
            self.force_exit = True
        if self._stop_at is None:
            self._replica.lifecycle.drain()
            self._stop_at = time.monotonic() + self._replica.settings.pre_stop_seconds

    async def on_tick(self, counter: int) -> bool:
        """Tells uvicorn, ten times a second, whether to stop accepting."""
        pause_is_over = self._stop_at is not None and time.monotonic() >= self._stop_at
        self.should_exit = self.should_exit or self.force_exit or pause_is_over
        return await super().on_tick(counter)


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection that does not finish the head of a request in time, and answers one that says no more.

    uvicorn waits for ever for the first head, and a client that sends one byte a minute would hold its connection open.
    Bodies have a limit of their own in `serving.http.upload`. uvicorn also drops the request of a client that closes
    its writing side once it has sent everything, as HTTP allows.
    """

    header_seconds = 10.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Starts the clock for the first request."""
        super().connection_made(transport)
        self._start_clock()

    def on_message_begin(self) -> None:
        """Starts the clock for a request on a kept-alive connection."""
        super().on_message_begin()
        self._start_clock()

    def on_headers_complete(self) -> None:
        """The head is complete in time."""
        self._stop_clock()
        super().on_headers_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps the connection for the answer to a request that is complete, and closes any other.

        A client that went away looks the same as one that waits, so the answer has only so long.
        """
        waits_for_answer = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        if waits_for_answer:
            self.cycle.keep_alive = False
            self._start_clock()
        return waits_for_answer

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the clock with the connection."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        self._stop_clock()
        self._head_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def build_server(settings: Settings) -> DrainingServer:
    """Returns the server of one replica, not yet started.

    Raises:
        ConfigurationError: if the settings cannot work.
    """
    replica = Replica.build(settings)
    protocol = type("Protocol", (ImpatientProtocol,), {"header_seconds": settings.header_seconds})
    config = uvicorn.Config(
        create_app(replica),
        host=settings.host,
        port=settings.port,
        http=protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        # Nothing here asks who the client is.
        proxy_headers=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    return DrainingServer(config, replica)

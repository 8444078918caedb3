"""The HTTP server: uvicorn, taught to stop without losing a request, and in a bounded time."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from serving.app import create_app
from serving.http.protocol import GuardedProtocol
from serving.replica import Replica
from serving.settings import Settings

logger = logging.getLogger("serving")

STOP_MARGIN_SECONDS = 5.0
"""After the drain: what is cancelled ends, and the prediction log writes its rest."""


class DrainingServer(uvicorn.Server):
    """Stops in three steps on SIGTERM: readiness false, a pause in which requests are still accepted, then drain.

    The pause outlasts the time the router needs to notice. Responses carry `Connection: close` meanwhile, so that no
    client sends its next request into a connection that is about to end. Then the process exits with 0.
    """

    def __init__(self, config: uvicorn.Config, replica: Replica) -> None:
        super().__init__(config)
        self._replica = replica
        self._stop_at: float | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is told to stop, on the internal port too if there is one."""
        internal_port = self._replica.settings.internal_port
        with ExitStack() as opened:
            if sockets is None and internal_port is not None:
                ports = self.config.port, internal_port
                sockets = [opened.enter_context(_bound(self.config.host, port)) for port in ports]
            super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, or ends the process with an error: uvloop keeps silent about a port that it did not get.

        Two processes can have bound the same port before either listens, so that shows only once the model is loaded.
        """
        await super().startup(sockets)
        deaf = [bound for bound in sockets or [] if not _listens(bound)]
        if not deaf:
            return
        for bound in deaf:
            bound.detach()  # uvloop has closed the descriptor, which may be somebody else's by now
        ports = f"{self.config.port} or {self._replica.settings.internal_port}"
        logger.error("Somebody else has begun to listen on port %s; ending now.", ports)
        for server in self.servers:
            server.close()
        await self.lifespan.shutdown()
        sys.exit(STARTUP_FAILURE)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Begins to stop; a second SIGINT stops at once."""
        if self._stop_at is not None and sig == signal.SIGINT:
            self.force_exit = True
        if self._stop_at is None:
            self._begin_stop()

    async def on_tick(self, counter: int) -> bool:
        """Tells uvicorn, ten times a second, whether to stop accepting."""
        if self._stop_at is None and self._replica.lifecycle.is_lost:
            self._begin_stop()
        pause_is_over = self._stop_at is not None and time.monotonic() >= self._stop_at
        self.should_exit = self.should_exit or self.force_exit or pause_is_over
        return await super().on_tick(counter)

    @property
    def exit_status(self) -> int:
        """0, or 1 if it ended because what it computes on failed, so that whoever started it starts another."""
        return int(self._replica.lifecycle.is_lost)

    def _begin_stop(self) -> None:
        self._replica.lifecycle.drain()
        self._stop_at = time.monotonic() + self._replica.settings.pre_stop_seconds
        self._bound_stop()

    def _bound_stop(self) -> None:
        """Ends the process at the latest when its time is over: Python waits for ever for a thread that still works."""
        settings = self._replica.settings
        limit = settings.pre_stop_seconds + settings.drain_seconds + STOP_MARGIN_SECONDS
        watchdog = threading.Timer(limit, _end_process, (limit,))
        watchdog.daemon = True
        watchdog.start()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that refuses connections until the model is loaded and the server listens.

    Raises:
        SystemExit: if somebody else has the port; the log says which.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # What is left of connections of the process before this one does not keep the port.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        sentence = "Port %d of %s cannot be had (%s); end who has it, or give this replica another one."
        logger.error(sentence, port, host, error.strerror)  # noqa: TRY400 - the sentence says it all
        sys.exit(STARTUP_FAILURE)
    return bound


def _listens(bound: socket.socket) -> bool:
    try:
        return bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError:
        return False


def _end_process(seconds: float) -> None:
    logger.error("Work was still going on %g seconds after the order to stop; ending now.", seconds)
    os._exit(1)


def build_server(settings: Settings) -> DrainingServer:
    """Returns the server of one replica, not yet started.

    Raises:
        ConfigurationError: if the settings cannot work.
    """
    replica = Replica.build(settings)
    limits = {"header_seconds": settings.header_seconds, "rest_seconds": settings.upload_seconds}
    protocol = type("Protocol", (GuardedProtocol,), limits)
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

"""HTTP/1.1 on one connection: uvicorn's protocol, with a limit on what a client may hold in each state.

uvicorn leaves some states without a clock: a head that never ends, the rest of a body whose request is answered
already, an answer that is not read, a blank line after an answer. It also takes what follows a request that offers an
upgrade for the next request, though a server may ignore the offer (RFC 9110, 7.8), and then it is the body: any client
that offers HTTP/2, as Java's does, would lose its image, and could hide a request of its own in it. And it adds what
stands behind a body in chunks to the headers, as many as come.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Also of what stands beside a body: trailers, and extensions of chunks, which nobody reads."""
MAX_WAITING = 100
"""Requests of one connection that were sent without waiting for an answer. All that one read brings are taken at once,
while nobody else's are."""
READER_SECONDS = 10.0
"""A client that has not taken more of its answer for so long is gone."""


class GuardedProtocol(HttpToolsProtocol):
    """Bounds time and memory of a connection in every state; bodies have limits of their own (`http.body.upload`).

    Attributes:
        header_seconds: the head of a request must be whole in this time.
        rest_seconds: the rest of a body whose request is answered must arrive in this time.
    """

    header_seconds = 10.0
    rest_seconds = 30.0
    _clock: asyncio.TimerHandle | None = None
    _reader_clock: asyncio.TimerHandle | None = None
    _in_head = False
    _goes_on = False
    _idle_bytes = 0
    _head_is_known = False

    def connection_made(self, transport: Any) -> None:
        """Starts the clock for the first request."""
        super().connection_made(transport)
        self._start_clock(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; whatever state that leads to has a clock."""
        self._unset_keepalive_if_required()
        self._goes_on = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse("Invalid HTTP request received.")
        self._idle_bytes = 0 if self._goes_on else self._idle_bytes + len(data)
        if self._idle_bytes > MAX_HEAD_BYTES:
            where = "The head of the request is" if self._in_head else "What stands beside the request's body is"
            self._refuse(f"{where} larger than {MAX_HEAD_BYTES} bytes.")
        if self.cycle is None or self.cycle.response_complete:
            self._ensure_clock(self.timeout_keep_alive)

    def on_message_begin(self) -> None:
        """Starts the clock for a request on a kept-alive connection."""
        if self._head_is_known:
            return
        if len(self.pipeline) >= MAX_WAITING:
            raise httptools.HttpParserError  # the parser stops, and tells who feeds it
        super().on_message_begin()
        self._in_head = True
        self._start_clock(self.header_seconds)

    def on_url(self, url: bytes) -> None:
        """Takes a piece of the request's target."""
        if not self._head_is_known:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes one header; a trailer is none."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete in time."""
        if self._head_is_known:
            return
        self._in_head, self._goes_on = False, True
        self._stop_clock()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a piece of the body."""
        self._goes_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless the parser only stopped for an upgrade that will not happen."""
        if self.parser.should_upgrade():
            return
        if self.cycle.response_complete:
            self._start_clock(self.timeout_keep_alive)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Gives a client that was answered early a time to send the rest of what it began."""
        super().on_response_complete()
        if not self.pipeline and self.cycle.more_body and not self.transport.is_closing():
            self._start_clock(self.rest_seconds)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps the connection for the answer to a request that is complete, and closes any other.

        A client that closes its writing side, as HTTP allows, looks the same as one that went away, so the answer has
        only so long.
        """
        waits_for_answer = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        if waits_for_answer:
            self.cycle.keep_alive = False
            self._start_clock(self.header_seconds)
        return waits_for_answer

    def pause_writing(self) -> None:
        """The client does not take its answer; watches that it goes on."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has taken its answer."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the clocks with the connection."""
        self._stop_clock()
        self._stop_watching()
        super().connection_lost(exc)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Goes on with `rest` as the body, which the offer's parser cannot do any more.

        A new parser is told only how the body is framed, in the words that the first one has accepted.
        """
        framing = [pair for pair in self.headers if pair[0] in {b"content-length", b"transfer-encoding"}]
        version = self.scope["http_version"].encode()
        head = [b"POST / HTTP/%s\r\n" % version, *(b"%s: %s\r\n" % pair for pair in framing), b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self._head_is_known = True
        try:
            self.data_received(b"".join(head))
        finally:
            self._head_is_known = False
        if rest and not self.transport.is_closing():
            self.data_received(rest)

    def _refuse(self, message: str) -> None:
        if not self.transport.is_closing():
            self.logger.warning(message)
            self.send_400_response(message)

    def _ensure_clock(self, seconds: float) -> None:
        if self._clock is None and self.timeout_keep_alive_task is None:
            self._start_clock(seconds)

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self.transport.close)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _watch_reader(self, unread: int) -> None:
        self._stop_watching()
        self._reader_clock = self.loop.call_later(READER_SECONDS, self._judge_reader, unread)

    def _judge_reader(self, unread_before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread < unread_before:
            self._watch_reader(unread)
        else:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._reader_clock is not None:
            self._reader_clock.cancel()
            self._reader_clock = None

"""Whoever is told: a receiver of Apprise's JSON, which remembers everything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Notices:
    """What was told.

    Attributes:
        url: the channel, as Apprise wants it.
        told: titles and texts, oldest first.
    """

    url: str
    told: list[tuple[str, str]] = field(default_factory=list)

    def about(self, run_id: str) -> list[tuple[str, str]]:
        """Those that lead to a run's page."""
        return [one for one in list(self.told) if run_id in one[1]]


@contextmanager
def receiving() -> Iterator[Notices]:
    """Listen on this machine, until the block ends."""
    notices = Notices("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            notices.told.append((said["title"], said["message"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What came is in ``told``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        notices.url = f"json://127.0.0.1:{server.server_port}/"
        yield notices
        server.shutdown()

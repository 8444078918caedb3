"""A reverse proxy before the API server that writes down what is asked of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3

from banana_delivery.targets.kubernetes.api import CONNECTIONS

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<resource>[^/?]+)"
    r"(?:/(?P<name>[^/?]+))?(?:/(?P<sub>[^/?]+))?"
)


@dataclass(frozen=True, order=True)
class Right:
    """Something that may be done to an object, or to all of a kind (name ``*``)."""

    namespace: str
    group: str
    resource: str
    verb: str
    name: str


def asked(method: str, path: str) -> Right:
    """The right that a request needs."""
    found = PATH.match(path)
    assert found, f"a request for something unexpected: {method} {path}"
    resource = found["resource"] + (f"/{found['sub']}" if found["sub"] else "")
    verb = VERBS.get(method, "get" if found["name"] else "list")
    return Right(found["namespace"], found["group"] or "", resource, verb, found["name"] or "*")


@contextmanager
def recording(server: str, authority: Path) -> Iterator[tuple[str, set[Right]]]:
    """Forward everything to ``server``, whose certificate ``authority`` signed.

    Yields the proxy's address and the rights that were needed so far.
    """
    needed: set[Right] = set()
    pool = urllib3.PoolManager(ca_certs=str(authority), maxsize=CONNECTIONS)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            needed.add(asked(self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Accept-Encoding")}
            answer = pool.request(self.command, server + self.path, body=body, headers=headers, retries=False)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_POST = do_PUT = do_PATCH = _forward  # noqa: N815 - the base class wants these names

        def log_message(self, *_: object) -> None:
            """What was asked is in ``needed``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_port}", needed
        proxy.shutdown()

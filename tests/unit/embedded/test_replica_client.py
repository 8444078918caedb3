"""On which port a replica's counters are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typing_extensions import override

from banana_delivery.embedded.replica_client import ReplicaClient
from tests.support.ports import free_port

DIGEST = "sha256:aa"


@contextmanager
def showing(page: str, status: int = 200, digest: str = DIGEST) -> Iterator[int]:
    """Somebody who shows a page, whatever he is asked for; gives his port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("X-Image-Digest", digest)
            self.end_headers()
            self.wfile.write(page.encode())

        @override
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_replica_is_read_on_its_internal_port() -> None:
    with showing("internal") as internal, showing("public") as public:
        assert ReplicaClient().metrics(internal, public, digest=DIGEST) == "internal"


def test_one_that_does_not_know_of_it_is_read_where_it_answers_users() -> None:
    with showing("public") as public:
        assert ReplicaClient().metrics(free_port(), public, digest=DIGEST) == "public"


def test_one_that_keeps_its_counters_to_itself_says_nothing_until_it_listens() -> None:
    with showing("not here", status=404) as public:
        assert ReplicaClient().metrics(free_port(), public, digest=DIGEST) is None


def test_whoever_listens_there_and_fails_is_not_taken_for_an_earlier_release() -> None:
    with showing("broken", status=500) as internal, showing("public") as public:
        assert ReplicaClient().metrics(internal, public, digest=DIGEST) is None


def test_nobody_at_all_says_nothing() -> None:
    assert ReplicaClient().metrics(free_port(), free_port(), digest=DIGEST) is None


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_stranger_on_a_port_that_an_earlier_release_left_free_is_not_counted_in_its_place(status: int) -> None:
    """The users' port of another stack's replica, say, or its internal one."""
    with showing("a stranger's", status, digest="sha256:bb") as internal, showing("public") as public:
        assert ReplicaClient().metrics(internal, public, digest=DIGEST) == "public"


def test_a_release_that_answers_users_in_place_of_another_is_seen_for_what_it_is() -> None:
    with showing("another's", digest="sha256:bb") as public:
        assert ReplicaClient().metrics(free_port(), public, digest=DIGEST) == "another's"

"""Logging in to a registry that sends its clients to a token issuer, as the public registries do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet

BASIC = "Basic " + base64.b64encode(b"banana:right").decode()


class Registry(BaseHTTPRequestHandler):
    """A registry and its issuer in one; tags need a token, tokens need a login."""

    scopes: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/token":
            self._issue(parse_qs(url.query), self.headers.get("Authorization") == BASIC)
        elif self.headers.get("Authorization") == "Bearer issued":
            self._answer(200, {"tags": ["1", "latest"]})
        else:
            challenge = (
                f'Bearer realm="http://{self.headers["Host"]}/token",service="registry",scope="repository:x:pull"'
            )
            self._answer(401, {}, {"WWW-Authenticate": challenge})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._issue(form, form["refresh_token"] == ["identity"])

    def _issue(self, query: dict[str, list[str]], allowed: bool) -> None:
        self.scopes.extend(query["scope"])
        self._answer(200, {"token": "issued"}) if allowed else self._answer(401, {"error": "wrong"})

    def _answer(self, code: int, body: dict[str, object], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def host() -> Iterator[str]:
    Registry.scopes.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def tags(host: str, credentials: Credentials, token_hosts: tuple[str, ...] = ()) -> list[str]:
    repository = Repository.parse(f"{host}/acme/banana")
    client = RegistryClient(repository, credentials, Retries(attempts=1), quiet, token_hosts=token_hosts)
    with closing(client):
        return client.tags()


@pytest.mark.parametrize("credentials", [Credentials("banana", "right"), Credentials(identity_token="identity")])
def test_a_token_is_fetched_for_all_that_is_ever_done_with_the_repository(host: str, credentials: Credentials) -> None:
    assert tags(host, credentials) == ["1", "latest"]
    assert Registry.scopes == ["repository:acme/banana:pull,push,delete"]


def test_an_issuer_that_refuses_is_named_and_the_password_is_not(host: str) -> None:
    with pytest.raises(ImageError, match="refused the credentials") as refusal:
        tags(host, Credentials("banana", "secret-but-wrong"))

    assert "secret-but-wrong" not in str(refusal.value)
    assert "secret-but-wrong" not in repr(Credentials("banana", "secret-but-wrong"))


@pytest.fixture
def thief() -> Iterator[ThreadingHTTPServer]:
    """A token issuer of somebody else's, on this machine under another name; it keeps what it is told."""

    class Thief(Registry):
        def do_GET(self) -> None:
            self.server.told.append(self.headers.get("Authorization", "nobody"))  # type: ignore[attr-defined]
            self._answer(200, {"token": "issued"})

        def do_POST(self) -> None:
            self.server.told.append(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
            self._answer(200, {"token": "issued"})

    with ThreadingHTTPServer(("127.0.0.1", 0), Thief) as server:
        server.told = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


LOGINS = [Credentials("banana", "right"), Credentials(identity_token="identity"), Credentials()]


@pytest.mark.parametrize("credentials", LOGINS)
@pytest.mark.parametrize("realm", ["http://127.0.0.1:{port}/token", "http://localhost:{port}/token"])
def test_no_token_is_fetched_from_a_host_that_nobody_named(
    host: str, thief: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, credentials: Credentials, realm: str
) -> None:
    lead_to(monkeypatch, realm.format(port=thief.server_port))
    with pytest.raises(ImageError, match=r"another host, so no login was sent there; .* BANANA_REGISTRY_TOKEN_HOSTS"):
        tags(host, credentials)
    assert thief.told == []  # type: ignore[attr-defined]


def test_a_host_that_was_named_issues_tokens(
    host: str, thief: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to(monkeypatch, f"http://127.0.0.1:{thief.server_port}/token")
    assert tags(host, LOGINS[0], (f"127.0.0.1:{thief.server_port}",)) == ["1", "latest"]
    assert thief.told == [BASIC]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "realm",
    ["http://issuer.example/token", "ftp://127.0.0.1/token", "http://127.0.0.1.issuer.example/", "//x", "http://["],
)
def test_a_login_never_leaves_this_machine_without_tls_whoever_named_the_host(
    host: str, monkeypatch: pytest.MonkeyPatch, realm: str
) -> None:
    lead_to(monkeypatch, realm)
    with pytest.raises(ImageError, match=r"in plain sight|names no address"):
        tags(host, LOGINS[0], ("issuer.example", "127.0.0.1.issuer.example"))


@pytest.mark.parametrize("credentials", LOGINS[:2])
def test_an_issuer_that_leads_elsewhere_is_not_followed(
    host: str, thief: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, credentials: Credentials
) -> None:
    def redirect(self: Registry, *_: object) -> None:
        self._answer(307, {}, {"Location": f"http://localhost:{thief.server_port}/token"})

    monkeypatch.setattr(Registry, "_issue", redirect)
    with pytest.raises(ImageError):
        tags(host, credentials)
    assert thief.told == []  # type: ignore[attr-defined]


def lead_to(monkeypatch: pytest.MonkeyPatch, realm: str) -> None:
    """Let the registry send its clients there for a token."""
    answer = Registry._answer

    def elsewhere(self: Registry, code: int, body: dict[str, object], headers: dict[str, str] | None = None) -> None:
        if headers and "WWW-Authenticate" in headers:
            headers = {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"'}
        answer(self, code, body, headers)

    monkeypatch.setattr(Registry, "_answer", elsewhere)

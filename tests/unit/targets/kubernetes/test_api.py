"""What the API server's client does when its credentials run out behind its back, and when the server is busy."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.errors import ConflictError, TargetError
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import KubernetesApi, kubernetes_user
from tests.support.kubeconfig import NOWHERE, write_kubeconfig
from tests.unit.targets.kubernetes.certificates import write_certificate

PAGE = "/api/v1/namespaces/production"


@dataclass
class ApiServer:
    """An API server that takes one token at a time, and may be busy.

    Attributes:
        url: where it is.
        token: the one that is good now.
        busy: seconds for which it asks to be left alone, in the answers to come; as a number or as a date.
        calm_at: before this moment, by the monotonic clock, nobody is to ask.
        early: requests that came before it.
        asked: the tokens that came, in order.
        anonymous_status: what a request without a token is told.
        authority: the certificate that a kubeconfig believes; None over plain HTTP.
    """

    url: str = ""
    token: str = "first"
    busy: list[tuple[int, dict[str, str], float]] = field(default_factory=list)
    calm_at: float = 0.0
    early: int = 0
    asked: list[str] = field(default_factory=list)
    anonymous_status: int = 401
    authority: Path | None = None

    def answer(self, authorization: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        token = authorization.partition(" ")[2]
        self.asked.append(token)
        self.early += time.monotonic() < self.calm_at
        if self.busy:
            status, headers, seconds = self.busy.pop(0)
            self.calm_at = time.monotonic() + seconds
            return status, headers, {"message": "busy"}
        if not token and self.anonymous_status == 403:
            return 403, {}, {"message": 'namespaces is forbidden: User "system:anonymous" cannot get it'}
        return (200, {}, {"metadata": {}}) if token == self.token else (401, {}, {"message": "Unauthorized"})


@contextmanager
def listening(here: ApiServer, context: Callable[[], ssl.SSLContext] | None = None) -> Iterator[str]:
    """A port on which the API server answers; yields where, without its scheme."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = here.answer(self.headers.get("Authorization", ""))
            if status == 200 and isinstance(here, Reviewer):
                status, headers, body = here.review(self.path)
            content = json.dumps(body).encode()
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """What was asked is in ``asked``."""

    class Listener(ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            connection, client = super().get_request()
            if context:
                connection = context().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            return connection, client

        def handle_error(self, *_: object) -> None:
            """A handshake that fails is wanted."""

    with Listener(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{listener.server_port}"
        listener.shutdown()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    here = ApiServer()
    with listening(here) as address:
        here.url = f"http://{address}"
        yield here


class Tls:
    """The same API server behind TLS.

    Args:
        folder: for its certificate.

    Attributes:
        url: where it is.
        authority: the certificate to believe it by.
    """

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.authority, self._key = write_certificate(folder, "server")
        self._clients: Path | None = None

    def let_in(self, client: Path) -> None:
        """From now on only clients with this certificate are let in."""
        self._clients = client

    def context(self) -> ssl.SSLContext:
        """For one connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, self._key)
        if self._clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._clients)
        return context


@pytest.fixture
def tls(server: ApiServer, tmp_path: Path) -> Iterator[Tls]:
    here = Tls(tmp_path)
    with listening(server, here.context) as address:
        here.url = f"https://{address}"
        yield here


@pytest.fixture
def configure(tmp_path: Path, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Writes a kubeconfig whose user is this one."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    def write(user: dict[str, Any]) -> None:
        cluster = {"server": server.url}
        if server.authority:
            cluster["certificate-authority"] = str(server.authority)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "user"}}],
            "current-context": "here",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))

    return write


def in_the_file(configure: Callable[[dict[str, Any]], None], folder: Path) -> Callable[[str], None]:
    return lambda token: configure({"token": token})


def in_a_token_file(configure: Callable[[dict[str, Any]], None], folder: Path) -> Callable[[str], None]:
    def renew(token: str) -> None:
        (folder / "token").write_text(f"{token}\n")  # as editors and `kubectl create token` leave it
        configure({"tokenFile": str(folder / "token")})

    return renew


def by_a_plugin(configure: Callable[[dict[str, Any]], None], folder: Path) -> Callable[[str], None]:
    """A plugin that does not say when its token expires."""
    plugin = folder / "plugin"
    told = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}

    def renew(token: str) -> None:
        said = json.dumps({**told, "status": {"token": token}} if token else {})
        plugin.write_text(f"#!{sys.executable}\nprint('''{said}''')\n")
        plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
        configure({"exec": {"apiVersion": told["apiVersion"], "command": str(plugin)}})

    return renew


KINDS = [in_the_file, in_a_token_file, by_a_plugin]


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_renewed_behind_our_back_are_read_again_when_the_old_ones_are_refused(
    kind: Any, configure: Callable[[dict[str, Any]], None], server: ApiServer, tmp_path: Path
) -> None:
    renew = kind(configure, tmp_path)
    renew("first")
    api = KubernetesApi(outage_seconds=0.2)
    assert api.get(PAGE) is not None

    server.token = "second"
    renew("second")

    assert api.replace(PAGE, {}) == {"metadata": {}}
    assert api.text(PAGE) is not None
    assert server.asked == ["first", "first", "second", "second"], "once, and for whatever is asked afterwards"


def test_the_token_of_a_pod_is_read_again_too(
    server: ApiServer, tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    host, port = tls.url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(tls.authority))
    api = KubernetesApi(outage_seconds=0.2)
    assert api.get(PAGE) is not None

    server.token = "second"
    token.write_text("second\n")

    assert api.get(PAGE) is not None


def test_a_client_certificate_that_was_rotated_on_disk_is_read_again(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tls: Tls, tmp_path: Path
) -> None:
    used, its_key = write_certificate(tmp_path, "client")
    following, following_key = write_certificate(tmp_path, "following")
    tls.let_in(used)
    server.url, server.authority = tls.url, tls.authority
    api = KubernetesApi(outage_seconds=0.2)
    configure({"client-certificate": str(used), "client-key": str(its_key), "token": "first"})
    assert api.get(PAGE) is not None

    tls.let_in(following.rename(tmp_path / "let-in.crt"))
    used.write_bytes((tmp_path / "let-in.crt").read_bytes())
    following_key.replace(its_key)

    assert api.get(PAGE) is not None


def test_a_certificate_of_the_server_by_another_authority_is_believed_once_the_kubeconfig_names_that_one(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tls: Tls, tmp_path: Path
) -> None:
    server.url, server.authority = tls.url, write_certificate(tmp_path, "authority-before")[0]
    configure({"token": "first"})
    api = KubernetesApi(outage_seconds=0.2)
    with pytest.raises(TargetError, match="certificate verify failed"):
        api.get(PAGE)

    server.authority = tls.authority
    configure({"token": "first"})

    assert api.get(PAGE) is not None


def test_a_plugin_that_failed_when_it_was_first_asked_is_asked_again_although_strangers_are_let_in(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tmp_path: Path
) -> None:
    server.anonymous_status = 403
    renew = by_a_plugin(configure, tmp_path)
    renew("")
    api = KubernetesApi(outage_seconds=0.2)
    with pytest.raises(TargetError, match="system:anonymous"):
        api.get(PAGE)

    renew("first")

    assert api.get(PAGE) is not None


def test_credentials_that_stay_refused_are_read_again_once_and_then_named(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tmp_path: Path
) -> None:
    in_the_file(configure, tmp_path)("revoked")

    with pytest.raises(TargetError, match=r"\(401\): Unauthorized\. The credentials were read again"):
        KubernetesApi(outage_seconds=0.2).get(PAGE)

    assert server.asked == ["revoked", "revoked"]


def test_a_kubeconfig_that_is_half_written_when_it_is_read_again_is_named_and_does_not_cost_the_next_request(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tmp_path: Path
) -> None:
    renew = in_the_file(configure, tmp_path)
    renew("first")
    api = KubernetesApi(outage_seconds=0.2)
    assert api.get(PAGE) is not None
    server.token = "second"

    (tmp_path / "kubeconfig").write_text('{"apiVersion": "v1", "clus')
    with pytest.raises(TargetError, match="The kubeconfig does not lead to a cluster"):
        api.get(PAGE)
    renew("second")

    assert api.get(PAGE) is not None


def test_threads_that_are_refused_together_all_go_on(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tmp_path: Path
) -> None:
    renew = in_the_file(configure, tmp_path)
    renew("first")
    api = KubernetesApi(outage_seconds=0.2)
    assert api.get(PAGE) is not None
    server.token = "second"
    renew("second")

    with ThreadPoolExecutor(8) as pool:
        assert all(answer is not None for answer in pool.map(lambda _: api.get(PAGE), range(32)))


def http_date(seconds: float) -> str:
    return formatdate(1_700_000_000 + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "1"}),
        (503, {"Retry-After": "1"}),
        (500, {"Retry-After": http_date(1), "Date": http_date(0)}),
    ],
)
def test_a_server_that_asks_to_be_left_alone_is_not_asked_before(
    status: int,
    headers: dict[str, str],
    configure: Callable[[dict[str, Any]], None],
    server: ApiServer,
    tmp_path: Path,
) -> None:
    in_the_file(configure, tmp_path)("first")
    api = KubernetesApi(outage_seconds=20)
    server.busy = [(status, headers, 0.95)]

    assert api.create(PAGE, {}) == {"metadata": {}}
    assert (server.early, len(server.asked)) == (0, 2)


def test_a_server_that_asks_for_longer_than_an_outage_may_last_is_asked_once_more_and_then_named(
    configure: Callable[[dict[str, Any]], None], server: ApiServer, tmp_path: Path
) -> None:
    in_the_file(configure, tmp_path)("first")
    api = KubernetesApi(outage_seconds=1.4)
    assert api.get(PAGE) is not None
    server.busy = [(429, {"Retry-After": "86400"}, 0.0)] * 9

    with pytest.raises(TargetError, match=r"did not answer for 1 s \(Too Many Requests\)"):
        api.get(PAGE)

    assert len(server.asked) == 3


@pytest.mark.parametrize("verb", ["patch", "replace", "create"])
def test_a_write_that_somebody_else_was_faster_with_is_told_apart_from_one_that_is_refused(
    verb: str, server: ApiServer, configure: Callable[[dict[str, Any]], None]
) -> None:
    configure({"token": "first"})
    server.busy = [(409, {}, 0.0), (422, {}, 0.0)]
    write = getattr(KubernetesApi(), verb)

    with pytest.raises(ConflictError, match="at the same moment"):
        write(PAGE, {"metadata": {"resourceVersion": "1"}})
    with pytest.raises(TargetError, match="422") as refused:
        write(PAGE, {"metadata": {"resourceVersion": "1"}})
    assert not isinstance(refused.value, ConflictError)


@dataclass
class Reviewer(ApiServer):
    """An API server of some age that says who asks.

    Attributes:
        knows: the kinds and versions of reviews that it has.
        may_review_tokens: whether whoever asks may.
        name: what it knows him by.
        paths: what it was asked.
    """

    knows: tuple[str, ...] = ("v1/selfsubjectreviews", "v1/tokenreviews")
    may_review_tokens: bool = False
    name: object = "ada@example.com"
    paths: list[str] = field(default_factory=list)

    def review(self, path: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        kind = path.removeprefix("/apis/authentication.k8s.io/")
        self.paths.append(kind)
        if kind not in self.knows:
            return 404, {}, {"message": "the server could not find the requested resource"}
        if kind.endswith("tokenreviews"):
            if not self.may_review_tokens:
                return 403, {}, {"message": "may not"}
            return 201, {}, {"status": {"authenticated": True, "user": {"username": self.name}}}
        return 201, {}, {"status": {"userInfo": {"username": self.name}}}


def asked(reviewer: Reviewer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str = "first") -> str:
    """Who is known, to somebody whose kubeconfig leads to this server."""
    with listening(reviewer) as address:
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", {"it": f"http://{address}"}, token)))
        return kubernetes_user(Settings(home=tmp_path))


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_api_server_is_asked_who_we_are(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reviewer = Reviewer(knows=(f"{version}/selfsubjectreviews",))

    assert asked(reviewer, monkeypatch, tmp_path) == "ada@example.com"


def test_one_that_is_older_says_it_of_our_token_to_whoever_may_ask_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = ("v1/tokenreviews",)

    assert asked(Reviewer(knows=old, may_review_tokens=True), monkeypatch, tmp_path) == "ada@example.com"
    assert asked(Reviewer(knows=old), monkeypatch, tmp_path) == ""


def test_nobody_is_named_by_a_server_that_does_not_know_or_says_something_odd(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for reviewer in (
        Reviewer(knows=()),
        Reviewer(name=None),
        Reviewer(name={"a": "map"}),
        Reviewer(name="system:anonymous"),
        Reviewer(token="another"),
    ):
        assert asked(reviewer, monkeypatch, tmp_path) == ""


def test_nobody_is_named_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for config in (write_kubeconfig(tmp_path / "config", NOWHERE), tmp_path / "none"):
        monkeypatch.setenv("KUBECONFIG", str(config))
        assert kubernetes_user(Settings(home=tmp_path)) == ""

"""A Gateway with TLS whose certificate a company made itself."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from banana_delivery.evaluation.acceptance_tests import smoke
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.load_test import measure
from banana_delivery.evaluation.probe import Probe
from banana_delivery.targets.kubernetes.routing import digest_at
from banana_delivery.waiting import wait_until

DIGEST = f"sha256:{'a' * 64}"


class _Answers(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("X-Image-Digest", DIGEST)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = _answer  # noqa: N815 - the base class wants these names

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not believe it hang up."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address with TLS on loopback, and the certificate of its authority."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "us")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    with _Server(("127.0.0.1", 0), _Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}", certificate
        server.shutdown()


def answered(url: str, leaves: list[LabelledImage]) -> list[bool]:
    """Whether each of those who ask a release gets its answers."""
    with Probe(url, leaves, rate=200) as probe:
        wait_until(lambda: probe.counts().answered or probe.counts().failed, 10.0, lambda _: AssertionError("silent"))
    alive, *_ = smoke(url, leaves[0], DIGEST, "7")
    return [
        digest_at(url) == DIGEST,
        probe.counts().answered > 0,
        bool(measure(url, leaves, seconds=0.2, timeout=5.0, clients=1).latencies),
        not alive.unreached,
    ]


def test_everybody_who_asks_a_release_believes_the_authority_that_is_named_and_no_other(
    gateway: tuple[str, Path], leaves: list[LabelledImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, authority = gateway

    assert not any(answered(url, leaves)), "a stranger's certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert all(answered(url, leaves))

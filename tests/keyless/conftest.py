"""The servers, each with an authority of the test's own, and an issuer of tokens that Fulcio believes."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID
from typing_extensions import override

from banana_delivery.images.supply_chain.keyless.fulcio import Fulcio
from banana_delivery.images.supply_chain.keyless.signer import KeylessSigner
from banana_delivery.images.supply_chain.keyless.trust import KeylessTrust
from banana_delivery.waiting import Retries
from tests.support.authorities import STAMPS, Chain, served

BUILT = Path(os.environ.get("KEYLESS", Path(__file__).parents[2] / ".keyless")) / "bin"
PASSWORD = "banana"
AUDIENCE = "sigstore"
NAMESPACE, ACCOUNT = "banana-delivery", "banana-delivery"
NAME = f"https://kubernetes.io/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}"


@dataclass
class Issuer:
    """Issues tokens as a cluster's API server does for its accounts.

    Attributes:
        key: signs them.
        url: who issues.
    """

    key: ec.EllipticCurvePrivateKey
    url: str = ""

    def token(self, *, audience: str = AUDIENCE, seconds: float = 600.0, account: str = ACCOUNT) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": [audience],
            "exp": now + int(seconds),
            "iat": now,
            "nbf": now - 60,
            "sub": f"system:serviceaccount:{NAMESPACE}:{account}",
            "kubernetes.io": {
                "namespace": NAMESPACE,
                "serviceaccount": {"name": account, "uid": "1"},
                "pod": {"name": "run", "uid": "2"},
            },
        }
        signed = ".".join(_text(json.dumps(one).encode()) for one in ({"alg": "ES256", "kid": "1"}, claims))
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(32) + s.to_bytes(32))}"

    def answer(self, path: str) -> bytes:
        numbers = self.key.public_key().public_numbers()
        key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1"}
        told = {
            "/keys": {"keys": [{**key, "x": _text(numbers.x.to_bytes(32)), "y": _text(numbers.y.to_bytes(32))}]},
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/none",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            },
        }
        return json.dumps(told[path]).encode()


@dataclass(frozen=True)
class Servers:
    """What answers.

    Attributes:
        issuer: of tokens.
        fulcio: of certificates, a URL.
        stamps: of timestamps, a URL.
        chain: of Fulcio, a file.
        stamps_chain: of the timestamp authority, a file.
        token: the file that the issuer writes.
    """

    issuer: Issuer
    fulcio: str
    stamps: str
    chain: Path
    stamps_chain: Path
    token: Path

    @property
    def trust(self) -> KeylessTrust:
        return KeylessTrust.of(self.chain, self.stamps_chain)

    @property
    def signer(self) -> KeylessSigner:
        return KeylessSigner(Fulcio(self.fulcio, self.token), self.stamps, self.trust, Retries(first_wait=0.1))


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    if not (BUILT / "fulcio").exists():
        pytest.fail(f"{BUILT} has no servers; type: make test-keyless")
    folder, issuer = tmp_path_factory.mktemp("keyless"), Issuer(ec.generate_private_key(ec.SECP256R1()))
    chain, key = Chain.made("fulcio", [ExtendedKeyUsageOID.CODE_SIGNING], signs=True).write(folder, "fulcio", PASSWORD)
    stamps, stamps_key = Chain.made("stamps", [ExtendedKeyUsageOID.TIME_STAMPING], signs=False).write(
        folder, "stamps", PASSWORD
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(issuer.answer(self.path))

        @override
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ExitStack() as ends:
        issuer.url = ends.enter_context(served(Handler))
        config = folder / "config.json"
        believed = {"IssuerURL": issuer.url, "ClientID": AUDIENCE, "Type": "kubernetes"}
        config.write_text(json.dumps({"OIDCIssuers": {issuer.url: believed}}))
        ports = _free_port(), _free_port()
        started = {
            "fulcio": [f"--address=127.0.0.1:{ports[0]}", f"--config={config}", f"--cert={chain}", f"--key={key}"],
            "timestamp-authority": [f"--port={ports[1]}", f"--chain={stamps}", f"--key={stamps_key}"],
        }
        for name, arguments in started.items():
            log = ends.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [str(BUILT / name), *arguments, f"--password={PASSWORD}"], stdout=log, stderr=subprocess.STDOUT
            )
            ends.callback(process.wait, 10)
            ends.callback(process.kill)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        _wait(f"{urls[0]}/api/v2/trustBundle")
        _wait(f"{urls[1]}{STAMPS}/certchain")
        yield Servers(issuer, urls[0], f"{urls[1]}{STAMPS}", chain, stamps, folder / "token")


@pytest.fixture
def servers(_started: Servers) -> Servers:
    _started.token.write_text(_started.issuer.token())
    return _started


def _wait(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")

"""Authorities of a test's own: one that issues certificates in Fulcio's published form, and openssl's for timestamps.

The real Fulcio's server and the real timestamp authority's are asked by ``tests/keyless``, which builds them first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from typing_extensions import override

from banana_delivery.images.supply_chain.keyless.fulcio import Fulcio
from banana_delivery.images.supply_chain.keyless.signer import KeylessSigner
from banana_delivery.images.supply_chain.keyless.trust import KeylessTrust
from banana_delivery.waiting import Retries

ISSUER = "https://tokens.test"
NAME = "https://kubernetes.io/namespaces/banana-delivery/serviceaccounts/banana-delivery"
CERTIFICATES = "/api/v2/signingCert"
STAMPS = "/api/v1/timestamp"
_ISSUER_BEFORE, _ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_PROMISES = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_YEARS = timedelta(days=3650)


@dataclass(frozen=True)
class Chain:
    """An authority below a root of its own.

    Attributes:
        key: the authority's.
        certificates: its own first, the root last.
    """

    key: ec.EllipticCurvePrivateKey
    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def made(cls, name: str, uses: list[ObjectIdentifier], *, signs: bool) -> Chain:
        """A new one, for certificates (``signs``) or for what its use says."""
        top, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate(f"{name} root", top, f"{name} root", top, uses=None, authority=True)
        below = _certificate(name, own, f"{name} root", top, uses=uses, authority=signs)
        return cls(own, (below, root))

    @property
    def pem(self) -> str:
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in self.certificates)

    def write(self, folder: Path, name: str, password: str = "") -> tuple[Path, Path]:
        """Certificates and key as files."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_text(self.pem)
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return chain, key


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    *,
    uses: list[ObjectIdentifier] | None,
    authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _YEARS)
        .not_valid_after(now + _YEARS)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(_usage(authority=authority), critical=True)
    )
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=True)
    return builder.sign(by, hashes.SHA256())


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Answers:
    """What an authority answers, for a test to change.

    Attributes:
        name: whom certificates are for; with an @ an e-mail address.
        issuer: whose tokens said so.
        early: seconds by which a certificate begins before now; negative: after it.
        seconds: how long it counts.
        key: whose certificate it is; None: whoever asks for it.
        use: what it is for.
        status: of an answer that is none.
        broken: what is answered instead, by path.
        passing: how many answers fail first.
        stamps: whose timestamps; None: the test's own authority.
        log: who promises to publish certificates; None: nobody does.
    """

    name: str = NAME
    issuer: str = ISSUER
    early: float = 0.0
    seconds: float = 600.0
    key: ec.EllipticCurvePublicKey | None = None
    use: ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING
    status: int = 200
    broken: dict[str, bytes] = field(default_factory=dict)
    passing: int = 0
    stamps: Stamps | None = None
    old_issuer: bool = False
    log: Log | None = None


@dataclass
class Log:
    """A certificate transparency log that promises, and publishes nothing.

    Attributes:
        key: ECDSA's or RSA's.
        about: what is promised to be published instead of the certificate, if not empty.
    """

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    about: bytes = b""

    @property
    def pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def promise(self, entry: bytes, issuer: ec.EllipticCurvePublicKey) -> bytes:
        """What stands in a certificate (RFC 6962, section 3.3), as an extension's value."""
        digests = [
            hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
            for key in (self.key.public_key(), issuer)
        ]
        moment = (1_790_000_000_123).to_bytes(8)
        content = self.about or entry
        signed = b"\0\0" + moment + b"\0\1" + digests[1] + len(content).to_bytes(3) + content + b"\0\0"
        if isinstance(self.key, rsa.RSAPrivateKey):
            kind, signature = b"\4\1", self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            kind, signature = b"\4\3", self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        one = b"\0" + digests[0] + moment + b"\0\0" + kind + len(signature).to_bytes(2) + signature
        listed = len(one).to_bytes(2) + one
        told = len(listed).to_bytes(2) + listed
        length = bytes([len(told)]) if len(told) < 128 else b"\x82" + len(told).to_bytes(2)
        return b"\x04" + length + told


@dataclass
class Stamps:
    """Timestamps by openssl.

    Attributes:
        folder: keeps its key.
        chain: what stands behind them.
    """

    folder: Path
    chain: Chain = field(default_factory=lambda: Chain.made("stamps", [ExtendedKeyUsageOID.TIME_STAMPING], signs=False))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file, key = self.chain.write(self.folder, "stamps")
        own = self.folder / "own.pem"
        own.write_bytes(self.chain.certificates[0].public_bytes(Encoding.PEM))
        (self.folder / "serial").write_text("01\n")
        (self.folder / "ts.cnf").write_text(
            f"[tsa]\ndefault_tsa = one\n[one]\nserial = {self.folder}/serial\nsigner_cert = {own}\n"
            f"signer_key = {key}\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\ndigests = sha256, sha512\n"
            "ess_cert_id_alg = sha256\n"
        )

    def answer(self, question: bytes) -> bytes:
        asked, reply = self.folder / "question", self.folder / "reply"
        asked.write_bytes(question)
        command = ["openssl", "ts", "-reply", "-config", str(self.folder / "ts.cnf"), "-queryfile", str(asked)]
        subprocess.run([*command, "-out", str(reply)], check=True, capture_output=True, timeout=30)
        return reply.read_bytes()


@dataclass
class Authorities:
    """Both, answering on loopback.

    Attributes:
        folder: keeps their files.
        url: where they answer.
        answers: what they answer.
        asked: the body of every question for a certificate.
    """

    folder: Path
    url: str = ""
    answers: Answers = field(default_factory=Answers)
    chain: Chain = field(default_factory=lambda: Chain.made("fulcio", [ExtendedKeyUsageOID.CODE_SIGNING], signs=True))
    asked: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file, _ = self.chain.write(self.folder, "fulcio")
        self.stamps = Stamps(self.folder / "stamps")
        self.token = self.folder / "token"
        self.token.write_text(token_of({"iss": ISSUER, "aud": "sigstore", "exp": 4_000_000_000, "sub": NAME}))

    def signer(self, trust: KeylessTrust | None = None) -> KeylessSigner:
        trust = trust or self.trust
        return KeylessSigner(Fulcio(self.url, self.token), f"{self.url}{STAMPS}", trust, Retries(first_wait=0.01))

    @property
    def trust(self) -> KeylessTrust:
        """The authorities alone, and nobody's name."""
        return KeylessTrust.of(self.file, self.stamps.file)

    def certificate(self, key: ec.EllipticCurvePublicKey) -> str:
        """One in Fulcio's published form."""
        told = self.answers
        start = datetime.now(UTC) - timedelta(seconds=told.early)
        name = x509.RFC822Name(told.name) if "@" in told.name else x509.UniformResourceIdentifier(told.name)
        text = told.issuer.encode()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.chain.certificates[0].subject)
            .public_key(told.key or key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(seconds=told.seconds))
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([told.use]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.chain.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_BEFORE, text), critical=False)
        )
        if not told.old_issuer:
            length = bytes([len(text)]) if len(text) < 128 else bytes([0x81, len(text)])
            builder = builder.add_extension(
                x509.UnrecognizedExtension(_ISSUER, b"\x0c" + length + text), critical=False
            )
        if told.log:
            entry = builder.sign(self.chain.key, hashes.SHA256()).tbs_certificate_bytes
            promise = told.log.promise(entry, self.chain.key.public_key())
            builder = builder.add_extension(x509.UnrecognizedExtension(_PROMISES, promise), critical=False)
        return builder.sign(self.chain.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """What the server says."""
        told = self.answers
        if told.passing:
            told.passing -= 1
            return 503, b"busy"
        if path in told.broken:
            return told.status, told.broken[path]
        if path == STAMPS:
            return 200, (told.stamps or self.stamps).answer(body)
        question = json.loads(body)
        self.asked.append(question)
        request = x509.load_pem_x509_csr(base64.b64decode(question["certificateSigningRequest"]))
        key = request.public_key()
        assert request.is_signature_valid
        assert isinstance(key, ec.EllipticCurvePublicKey)
        chain = [self.certificate(key), *(one.public_bytes(Encoding.PEM).decode() for one in self.chain.certificates)]
        bare = [one.strip() for one in chain]  # As Fulcio has them, without a line's end.
        return 200, json.dumps({"signedCertificateDetachedSct": {"chain": {"certificates": bare}}}).encode()


@contextmanager
def authorities(folder: Path) -> Iterator[Authorities]:
    """Both, until the end of the block."""
    own = Authorities(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, content = own.answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        @override
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with served(Handler) as own.url:
        yield own


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on loopback until the end of the block; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def token_of(claims: dict[str, object]) -> str:
    """A token as an issuer writes it, which nobody signed."""
    parts = (json.dumps(one).encode() for one in ({"alg": "ES256"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"signature"))

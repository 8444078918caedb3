"""A key of AWS KMS, which another's implementation of that service keeps; cosign verifies what it signs."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from moto.kms.utils import ECDSAPrivateKey
from moto.server import ThreadedMotoServer

from banana_delivery.delivery.image_build import build_context
from banana_delivery.delivery.signing.images import ImageSigner, refuse_unsigned
from banana_delivery.errors import BadSettingsError, GateError, ImageError
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.kms import kms_key
from banana_delivery.images.supply_chain.signatures import statements
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from tests.support.artifacts import artifact_record
from tests.support.signing_keys import key_pair

ALIAS = "alias/banana"
NAMELESS = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
"""A public half without the name of its key."""


def of_digest(key: ECDSAPrivateKey, message: bytes, signing_algorithm: str) -> bytes:
    """As the service signs a digest; this implementation of it says that it does not know that form yet."""
    assert signing_algorithm == "ECDSA_SHA_256"
    assert len(message) == 32
    signed: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(SHA256())))
    return signed


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ECDSAPrivateKey, "sign", of_digest)
        yield from _served()


def _served() -> Iterator[str]:
    served = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    served.start()
    host, port = served.get_host_and_port()
    yield f"http://{host}:{port}"
    served.stop()


@pytest.fixture
def account(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service as whoever makes keys meets it."""
    for name, value in {
        "AWS_ENDPOINT_URL_KMS": server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    return boto3.client("kms")


def made(account: Any, alias: str = "", spec: str = "ECC_NIST_P256", use: str = "SIGN_VERIFY") -> dict[str, Any]:
    """A new key, and what it is called."""
    key: dict[str, Any] = account.create_key(KeySpec=spec, KeyUsage=use)["KeyMetadata"]
    if alias:
        known = {one["AliasName"] for one in account.list_aliases()["Aliases"]}
        (account.update_alias if alias in known else account.create_alias)(AliasName=alias, TargetKeyId=key["KeyId"])
    return key


def built(store: FakeImages, folder: Path) -> ImageRef:
    """An image to sign."""
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "version.json").write_text("{}")
    artifact = artifact_record(folder, "7", source="https://store.test/run")
    return store.build(build_context(artifact, Settings(home=folder)), lambda _: None).ref


def public_file(account: Any, key: dict[str, Any], folder: Path) -> Path:
    der = account.get_public_key(KeyId=key["KeyId"])["PublicKey"]
    path = folder / "kms.pub"
    path.write_bytes(load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, dict[str, Any]]]) -> Iterator[list[str]]:
    """A service that gives these answers one after the other, the last for ever; what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["X-Amz-Target"])
            status, document = answers[min(len(asked), len(answers)) - 1]
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{served.server_port}")
    try:
        yield asked
    finally:
        served.shutdown()
        thread.join()
        served.server_close()


@pytest.mark.parametrize("named", ["alias", "id", "arn"])
def test_an_image_that_it_signed_may_be_deployed_by_its_public_half_alone(
    account: Any, tmp_path: Path, named: str
) -> None:
    key = made(account, ALIAS)
    name = {"alias": ALIAS, "id": key["KeyId"], "arn": key["Arn"]}[named]
    settings = Settings(
        home=tmp_path, cosign_kms=f"awskms:///{name}", cosign_public_key=public_file(account, key, tmp_path)
    )
    store = FakeImages()
    ref = built(store, tmp_path)
    signer = ImageSigner(store, settings)
    with pytest.raises(GateError, match="BANANA_COSIGN_KMS"):
        refuse_unsigned(store, ref, settings)

    assert not signer.has_signed(ref)
    signer.say(ref, {"urn:test": {"says": "so"}})
    signer.sign(ref)

    assert signer.has_signed(ref)
    refuse_unsigned(store, ref, settings)
    assert signer.key is not None
    told = list(statements(ref, store.attached(ref, AttachmentKind.ATTESTATION), signer.key.public))
    assert told == [("urn:test", {"says": "so"})]


@pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not installed")
def test_cosign_verifies_its_signature(account: Any, tmp_path: Path) -> None:
    key = made(account, ALIAS)
    blob, signature, public = tmp_path / "blob", tmp_path / "blob.sig", public_file(account, key, tmp_path)
    blob.write_bytes(b"content")
    signature.write_bytes(base64.b64encode(kms_key(f"awskms:///{ALIAS}").sign(b"content").signature))

    told = subprocess.run(
        [*["cosign", "verify-blob", "--insecure-ignore-tlog", "--key"], public, "--signature", signature, blob],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert told.returncode == 0, told.stderr


def test_an_alias_that_is_moved_between_two_questions_changes_nobodys_signature(account: Any) -> None:
    made(account, ALIAS)
    key = kms_key(f"awskms:///{ALIAS}")

    made(account, ALIAS)

    assert key.public.verifies(b"content", key.sign(b"content").signature)
    assert kms_key(f"awskms:///{ALIAS}").name != key.name


@pytest.mark.parametrize(
    ("spec", "use", "said"),
    [
        ("RSA_2048", "SIGN_VERIFY", "P-256"),
        ("ECC_NIST_P384", "SIGN_VERIFY", "P-256"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "P-256"),
        ("ECC_NIST_P256", "KEY_AGREEMENT", "its use is KEY_AGREEMENT"),
    ],
)
def test_a_key_of_another_kind_is_refused_in_one_sentence(account: Any, spec: str, use: str, said: str) -> None:
    made(account, "alias/other", spec, use)

    with pytest.raises(BadSettingsError, match=said):
        kms_key("awskms:///alias/other")


@pytest.mark.parametrize(
    "uri",
    ["alias/banana", "gcpkms://projects/a", "hashivault://banana", "awskms://", "awskms:///", "awskms:///alias/", "awskms:///banana",
     "awskms:///alias/a b", "awskms:///alias/banana\nx"],
)  # fmt: skip
def test_what_names_no_key_of_this_service_is_refused_before_anybody_is_asked(uri: str) -> None:
    with pytest.raises(BadSettingsError, match="awskms:///alias/NAME"):
        kms_key(uri)


def test_a_key_that_is_not_there_is_a_setting_that_cannot_be_used(account: Any) -> None:
    with pytest.raises(BadSettingsError, match="NotFoundException"):
        kms_key("awskms:///alias/nobody")


def test_without_credentials_it_says_which_are_missing(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(BadSettingsError, match="AWS_ACCESS_KEY_ID"):
        kms_key(f"awskms:///{ALIAS}")


def test_without_a_region_it_says_so(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(BadSettingsError, match="region"):
        kms_key(f"awskms:///{ALIAS}")


def document(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The answer about the public half of a key."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"KeyId": "arn:k", "KeyUsage": "SIGN_VERIFY", "PublicKey": base64.b64encode(der).decode()}


def test_a_service_that_is_throttled_once_is_asked_again(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    throttled = (400, {"__type": "ThrottlingException", "message": "slow down"})
    with answering(monkeypatch, [throttled, (200, document(ec.generate_private_key(ec.SECP256R1())))]) as asked:
        assert kms_key(f"awskms:///{ALIAS}").key == "arn:k"

    assert asked == ["TrentService.GetPublicKey"] * 2


def test_what_is_no_signature_by_this_key_is_never_put_beside_an_image(
    account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = (200, document(ec.generate_private_key(ec.SECP256R1())))
    with answering(monkeypatch, [shown, (200, {"Signature": "bm9uZQ=="})]):
        key = kms_key(f"awskms:///{ALIAS}")
        with pytest.raises(ImageError, match="no signature by"):
            key.sign(b"content")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "KMSInvalidStateException", BadSettingsError),
        (400, "DisabledException", BadSettingsError),
        (400, "AccessDeniedException", BadSettingsError),
        (500, "KMSInternalException", ImageError),
        (400, "KeyUnavailableException", ImageError),
    ],
)
def test_a_refusal_says_whether_another_try_may_help(
    account: Any, monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[Exception]
) -> None:
    shown = (200, document(ec.generate_private_key(ec.SECP256R1())))
    with answering(monkeypatch, [shown, (status, {"__type": code, "message": "no"})]):
        key = kms_key(f"awskms:///{ALIAS}")
        with pytest.raises(kind, match=f"does not sign with the key that BANANA_COSIGN_KMS names .{code}"):
            key.sign(b"content")


@pytest.mark.parametrize(
    "document",
    [{}, {"PublicKey": NAMELESS, "KeyUsage": "SIGN_VERIFY"}, {"PublicKey": "bm8=", "KeyId": "k"}, {"PublicKey": 7}],
)
def test_an_answer_that_holds_no_public_key_is_one_sentence(
    account: Any, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    with answering(monkeypatch, [(200, document)]), pytest.raises((BadSettingsError, ImageError), match="KMS"):
        kms_key(f"awskms:///{ALIAS}")


def test_a_service_that_does_not_answer_is_no_fault_of_the_settings(
    account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")

    with pytest.raises(ImageError, match="try again"):
        kms_key(f"awskms:///{ALIAS}")


def test_two_keys_are_one_too_many(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cosign_key=key_pair(tmp_path, "ours")[0], cosign_kms=f"awskms:///{ALIAS}")

    with pytest.raises(BadSettingsError, match="unset what is not to sign"):
        _ = ImageSigner(FakeImages(), settings).key

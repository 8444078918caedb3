"""Whether somebody who is believed signed a checkpoint: OpenSSF's model signing, version 1, by key.

Beside a model lies a Sigstore bundle, ``model.sig``: in a signed envelope a statement that lists the digest of every
file of the model. What is asked of it here is one thing, that this very ``best.pt`` is among them. Of which version it
is, nobody signs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from banana_delivery.errors import BadSettingsError, UnsignedModelError
from banana_delivery.files import bytes_sha256, file_sha256
from banana_delivery.images.supply_chain.keys import name_of, public_blocks
from banana_delivery.images.supply_chain.signatures import IN_TOTO, STATEMENT, authenticated

PREDICATE = "https://model_signing/signature/v1.0"
MOST_BYTES = 4 * 2**20
"""Of a bundle: a model of thousands of files has less."""
SETTING = "BANANA_MODEL_SIGNING_PUBLIC_KEY"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


@dataclass(frozen=True)
class Envelope:
    """What a bundle holds.

    Attributes:
        payload: the statement's bytes.
        signatures: of any of them one has to be of a key that is believed.
    """

    payload: bytes
    signatures: tuple[bytes, ...]


def require_signature(checkpoint: Path, bundle: Path | None, keys_file: Path, where: str) -> str:
    """Let only that checkpoint pass which somebody signed whose key is believed.

    Args:
        checkpoint: the file as it was downloaded.
        bundle: the signature that lies beside it; None if it is known that none does.
        keys_file: public keys as PEM.
        where: how messages call the version.

    Returns:
        The name of the key that signed it.

    Raises:
        UnsignedModelError: if nobody who is believed signed this file.
        BadSettingsError: if the keys cannot be read.
    """
    keys = _keys(keys_file)
    names = " or ".join(name_of(key) for key in keys)
    if bundle is None:
        raise UnsignedModelError(
            f"No model.sig lies beside best.pt of {where}, and {SETTING} lets nothing unsigned be delivered: sign the "
            f"folder with a key of {names} (model_signing sign key --private-key ...) and log it with the checkpoint."
        )
    try:
        envelope = _envelope(_content(bundle))
        signer = next((key for key in keys for one in envelope.signatures if _is_by(key, envelope.payload, one)), None)
        if signer is None:
            raise UnsignedModelError(
                f"The model.sig beside best.pt of {where} bears no signature of {names}, which {SETTING} asks for: "
                "find out who signed it, or add that key to the file if you know whose it is."
            )
        digests = dict(_files(json.loads(envelope.payload)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnsignedModelError(
            f"The model.sig beside best.pt of {where} is no signature of a model that can be verified here ({error}): "
            "sign it with model_signing 1.0 or later by key, whole files with sha256."
        ) from error
    found = file_sha256(checkpoint)
    if found not in {digest for name, digest in digests.items() if name.rpartition("/")[2] == checkpoint.name}:
        raise UnsignedModelError(
            f"The best.pt of {where} is not the file that was signed: it is {found[:12]}, and its model.sig by "
            f"{name_of(signer)} speaks of {_some(digests)}. Somebody changed it since, or another training was signed."
        )
    return name_of(signer)


def _content(bundle: Path) -> bytes:
    if bundle.stat().st_size > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    return bundle.read_bytes()


def _envelope(content: bytes) -> Envelope:
    """The envelope in a bundle, whose signatures nobody has looked at yet."""
    envelope = json.loads(content)["dsseEnvelope"]
    if envelope["payloadType"] != IN_TOTO:
        raise ValueError("it is no in-toto statement")
    signatures = tuple(base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"])
    return Envelope(base64.b64decode(envelope["payload"], validate=True), signatures)


def _files(statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and sha256 hex of each file that a statement lists, if it says the same of all of them together."""
    if (statement["_type"], statement["predicateType"]) != (STATEMENT, PREDICATE):
        raise ValueError("it is no statement of model signing 1.0")
    predicate = statement["predicate"]
    if predicate["serialization"]["method"] != "files" or predicate["serialization"]["hash_type"] != "sha256":
        raise ValueError("it lists no sha256 of whole files")
    told = [(str(one["name"]), str(one["algorithm"]), str(one["digest"])) for one in predicate["resources"]]
    root = bytes_sha256(b"".join(bytes.fromhex(digest) for _, _, digest in told))
    if [one["digest"]["sha256"] for one in statement["subject"]] != [root]:
        raise ValueError("its list of files is not the one that its digest is of")
    alone = str(statement["subject"][0]["name"])  # What is signed as one file instead of a folder is called so.
    yield from ((alone if name == "." else name, digest) for name, algorithm, digest in told if algorithm == "sha256")


def _is_by(key: ec.EllipticCurvePublicKey, payload: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, authenticated(payload), ec.ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature:
        return False
    return True


def _keys(path: Path) -> list[ec.EllipticCurvePublicKey]:
    keys = []
    for block in public_blocks(path, SETTING):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise BadSettingsError(f"A key in {path}, which {SETTING} names, is no ECDSA key on P-256, P-384 or P-521.")
        keys.append(key)
    return keys


def _some(digests: dict[str, str]) -> str:
    its = [digest[:12] for name, digest in digests.items() if name.rpartition("/")[2] == "best.pt"]
    return " and ".join(its) or f"{len(digests)} files, none of them a best.pt"

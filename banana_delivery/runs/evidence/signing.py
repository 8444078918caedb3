"""Signatures of records: an HMAC over a record and over the place where it stands, so that it counts nowhere else."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from banana_delivery.errors import EvidenceError
from banana_delivery.runs.evidence.keys import EvidenceKeys, Key

SIGNATURE_KEY = "signature"
"""In the metadata, beside the record."""
UNSIGNED = "it bears no signature"


@dataclass(frozen=True)
class Origin:
    """Where a record stands.

    Attributes:
        kind: the record's class.
        asset: key of the asset, with its prefix.
        partition: the model version.
        run_id: the run whose event it is; empty for an event of no run.
        after: the last event before it on that asset, where records are written without a run: whoever repeats it later
            cannot have it stand where it is repeated. Earlier versions wrote the last one of the same partition. 0 for
            none.
    """

    kind: str
    asset: str
    partition: str
    run_id: str = ""
    after: int = 0


def sign(record: object, origin: Origin, keys: EvidenceKeys) -> dict[str, object]:
    """The signature of a record, as it is kept.

    Raises:
        EvidenceError: if there is no key to sign with.
    """
    key = keys.signing()
    return {"key": key.name, "hmac": _hmac(key, record, origin), "after": origin.after}


def after_of(signature: object) -> int | None:
    """The event that a signature says it follows; None if it says nothing of the kind."""
    after = signature.get("after") if isinstance(signature, Mapping) else None
    return after if isinstance(after, int) else None


def mark_of(signature: object) -> str:
    """What is the same in a record and in its repetition; empty without a signature."""
    return str(signature.get("hmac", "")) if isinstance(signature, Mapping) else ""


def doubt_about(record: object, origin: Origin, signature: object, keys: EvidenceKeys) -> str:
    """Why a signature is not believed, as a clause; empty if it is."""
    if signature is None:
        return UNSIGNED
    if not isinstance(signature, Mapping):
        return "its signature is none"
    try:
        accepted = keys.accepted()
    except EvidenceError as error:
        return "" if keys.shows else f"nothing can be verified here: {error}"
    key = next((one for one in accepted if one.name == signature.get("key")), None)
    if key is None:
        return f"it is signed with a key that is not here ({str(signature.get('key'))[:8]!r})"
    told = str(signature.get("hmac", "")).encode(errors="replace")
    if not hmac.compare_digest(told, _hmac(key, record, origin).encode()):
        return "it was changed, or was made for another version, asset or run"
    return ""


def canonical(value: object) -> bytes:
    """The one form of a JSON value in which it is signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _hmac(key: Key, record: object, origin: Origin) -> str:
    return hmac.new(key.secret, canonical({"record": record, **asdict(origin)}), "sha256").hexdigest()

"""A link in a message leads to one attempt that waits, was made by this pipeline, and decides nothing."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from banana_delivery.errors import RefusedError
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.invitations import Invitation, inviting, read, written
from banana_delivery.runs.evidence.keys import EvidenceKeys
from banana_delivery.settings import Settings

PARKED = AttemptRecord(
    version="7",
    outcome=Outcome.PARKED,
    reason="Too few users.",
    digest=f"sha256:{7:0>64}",
    run_id="4a1c6f0e-0000-4000-8000-000000000000",
    at=1_790_000_000.123456,
)


def settings(home: Path, **changed: object) -> Settings:
    people = {"pages_login_header": "X-Forwarded-User", "pages_proxies": ["127.0.0.1/32"], "pages_deciders": ["ada"]}
    told = {"home": home, "dagster_public_url": "https://dagster.example.com/", **people, **changed}
    return Settings.model_validate(told)


def link(home: Path) -> str:
    address = inviting(settings(home))
    assert address
    return address(PARKED)


def test_it_leads_to_the_page_and_names_the_attempt(tmp_path: Path) -> None:
    parts = urlsplit(link(tmp_path))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "dagster.example.com", "/delivery")
    (text,) = parse_qs(parts.query)["asks"]
    assert len(text) < 800, "mail breaks longer ones"
    assert read(text, CodeLocation.of(settings(tmp_path))) == Invitation.about(PARKED)


@pytest.mark.parametrize(
    "changed", [{"dagster_public_url": ""}, {"pages_deciders": [], "pages_login_header": "", "pages_proxies": []}]
)
def test_where_nobody_decides_on_the_page_there_is_none(tmp_path: Path, changed: dict[str, object]) -> None:
    assert inviting(settings(tmp_path, **changed)) is None


@pytest.mark.parametrize("changed", [{"outcome": Outcome.REJECTED}, {"outcome": Outcome.ERROR}, {"digest": ""}])
def test_what_does_not_wait_has_none(tmp_path: Path, changed: dict[str, object]) -> None:
    address = inviting(settings(tmp_path))
    assert address
    assert address(PARKED.replace(**changed)) == ""


def test_without_a_key_people_are_told_without_a_link(tmp_path: Path) -> None:
    address = inviting(settings(tmp_path, pages_key_file=tmp_path / "elsewhere"))
    assert address
    assert address(PARKED) == ""


def test_one_that_was_changed_or_comes_from_elsewhere_is_refused(tmp_path: Path) -> None:
    location = CodeLocation.of(settings(tmp_path))
    text = written(Invitation.about(PARKED), location)
    signed = json.loads(urlsafe_b64decode(text + "=="))
    signed["to"]["version"] = "8"
    forged = urlsafe_b64encode(json.dumps(signed).encode()).decode().rstrip("=")
    others = [
        replace(location, model="another"),
        replace(location, prefix=("another",)),
        replace(location, asking=EvidenceKeys(tmp_path / "other.keys")),
    ]
    for other in others:
        with pytest.raises(RefusedError, match="was not sent by this pipeline"):
            read(written(Invitation.about(PARKED), other), location)
    half = {**signed, "signature": {**signed["signature"], "hmac": "\ud800"}}
    for text in (forged, urlsafe_b64encode(json.dumps(half).encode()).decode()):
        with pytest.raises(RefusedError, match="was not sent by this pipeline"):
            read(text, location)


@pytest.mark.parametrize("text", ["", "x", "\N{BULLET}", "e30", "W10", "bnVsbA", "A" * 10_000, "eyJ0byI6IHt9fQ"])
def test_one_that_is_not_whole_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(RefusedError, match="not whole"):
        read(text, CodeLocation.of(settings(tmp_path)))

"""Tests of a running release over HTTP, as rows of evidence: does it answer, and does it keep the service's contract?

A row that fails never ends the table: the person who reads it wants to know everything that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import httpx

from banana_delivery.policy.releases import TestRow
from banana_delivery.traffic import contract_checks as contract
from banana_delivery.traffic.contract_checks import CONCURRENT_REQUESTS, Check, CheckFailedError, Subject
from banana_delivery.traffic.labelled import LabelledImage
from banana_delivery.traffic.prediction import UNREACHED

TIMEOUT_SECONDS = 15.0
NOT_AN_IMAGE = b"This is a sentence, not a picture of a leaf."

SMOKE: tuple[tuple[str, Check], ...] = (
    ("is alive", contract.health),
    ("is ready", contract.ready),
    ("runs the release that was meant", contract.version),
    ("predicts a labelled image", contract.predict),
)
INTEGRATION: tuple[tuple[str, Check], ...] = (
    ("boxes and classes fit the images", contract.boxes),
    ("headers name the release", contract.headers),
    ("refuses what is not an image", contract.refuses(NOT_AN_IMAGE, 415)),
    ("refuses a corrupt image", contract.corrupt),
    ("refuses a decompression bomb", contract.refuses(contract.bomb(), 413)),
    ("answers alike under concurrency", contract.concurrent),
    ("exposes its metrics", contract.metrics),
)


def smoke(url: str, image: LabelledImage, expected_digest: str, expected_version: str) -> list[TestRow]:
    """The first look after a deployment: alive, ready, the release that was meant, and it predicts."""
    return _table(SMOKE, url, [image], expected_digest, expected_version)


def integration(
    url: str, images: Sequence[LabelledImage], expected_digest: str, expected_version: str
) -> list[TestRow]:
    """The service's contract: valid answers to images, the right refusals to everything else, and its metrics."""
    return _table(INTEGRATION, url, images, expected_digest, expected_version)


def _table(
    checks: Iterable[tuple[str, Check]], url: str, images: Sequence[LabelledImage], digest: str, version: str
) -> list[TestRow]:
    limits = httpx.Limits(max_connections=CONCURRENT_REQUESTS, max_keepalive_connections=CONCURRENT_REQUESTS)
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False) as client:
        subject = Subject(client, images, digest, version)
        return [_run_check(name, check, subject) for name, check in checks]


def _run_check(name: str, check: Check, subject: Subject) -> TestRow:
    """Run one check; no answer, or one that cannot be read, is a failed row."""
    started, unreached = time.perf_counter(), False
    try:
        passed, detail = True, check(subject)
    except CheckFailedError as failure:
        passed, detail = False, str(failure)
    except httpx.HTTPError as error:
        passed, detail = False, f"no answer: {type(error).__name__} {error}".strip()
        unreached = isinstance(error, UNREACHED)
    seconds = time.perf_counter() - started
    return TestRow(name=name, passed=passed, detail=detail, seconds=seconds, unreached=unreached)

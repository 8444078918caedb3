from __future__ import annotations

import pytest

from banana_delivery.errors import PassingError
from banana_delivery.images.docker.errors import failure


@pytest.mark.parametrize(
    "said",
    [
        "dial tcp 127.0.0.1:5000: connect: connection refused",
        "received unexpected HTTP status: 503 Service Unavailable",
        "net/http: TLS handshake timeout",
        "toomanyrequests: rate exceeded",
    ],
)
def test_what_passes_by_itself_is_worth_another_try(said: str) -> None:
    assert isinstance(failure("pushing 7", "registry", said), PassingError)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("denied: requested access to the resource is denied", "refused the credentials"),
        ("unauthorized: authentication required", "docker login registry"),
        ("write /var/lib/x: no space left on device", "The disk is full"),
        ("COPY failed: file not found", "Pushing 7 failed"),
    ],
)
def test_what_does_not_pass_is_said_at_once(said: str, sentence: str) -> None:
    error = failure("pushing 7", "registry", said)

    assert not isinstance(error, PassingError)
    assert sentence in str(error)

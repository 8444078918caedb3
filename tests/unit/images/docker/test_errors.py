from __future__ import annotations

import pytest

from banana_delivery.errors import ImageError, PassingError
from banana_delivery.images.docker.errors import failure
from banana_delivery.images.retrying import Retries


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


def test_waits_double_and_the_last_failure_says_how_often_it_was_tried() -> None:
    waits: list[float] = []

    def attempt() -> None:
        raise PassingError("It is down.")

    with pytest.raises(ImageError, match=r"It is down\. Tried 4 times\."):
        Retries(attempts=4, first_wait=1.0, sleep=waits.append).call(attempt, lambda line: None)
    assert waits == [1.0, 2.0, 4.0]


def test_a_second_try_that_succeeds_is_all_that_is_seen() -> None:
    answers: list[Exception | str] = [PassingError("Once."), "done"]

    def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Retries(sleep=lambda seconds: None).call(attempt, lambda line: None) == "done"

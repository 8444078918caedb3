"""Evidence about a release whose router dies under the questions: the release is not to blame."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from banana_delivery.errors import EvaluationError
from banana_delivery.evaluation import http
from banana_delivery.evaluation.answers import ask
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from tests.unit.evaluation.leaf_service import DIGEST, VERSION, running


@pytest.fixture
def evidence(tmp_path: Path, leaves: list[LabelledImage], monkeypatch: pytest.MonkeyPatch) -> HttpEvaluator:
    monkeypatch.setattr(http, "UNREACHED_PAUSE_SECONDS", 0.5)
    asking = HttpEvaluator(Settings(home=tmp_path))
    asking.__dict__["images"] = leaves
    return asking


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def starting_late(port: int, seconds: float) -> Iterator[str]:
    """A service that nobody can reach at first."""
    end = threading.Event()

    def serve() -> None:
        end.wait(seconds)
        with running(port):
            end.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end.set()
        thread.join()


def answering(url: str) -> ReleaseEndpoint:
    return ReleaseEndpoint(url, ImageRef(repository="banana", digest=DIGEST, version=VERSION, key="key"))


def test_a_release_that_cannot_be_reached_for_a_moment_is_tested_again(evidence: HttpEvaluator, free_port: int) -> None:
    said: list[str] = []
    with starting_late(free_port, 0.3) as url:
        rows = evidence.tests(answering(url), said.append)
    assert [row.name for row in rows if row.unreached] == []
    assert rows[0].passed
    assert any("FAILED: is alive" in line for line in said)


def test_one_that_can_never_be_reached_is_no_bad_release_but_no_evidence(
    evidence: HttpEvaluator, free_port: int
) -> None:
    with pytest.raises(EvaluationError, match=r"cannot be reached at .* see to the router there, then deliver again"):
        evidence.tests(answering(f"http://127.0.0.1:{free_port}"), print)


def test_labelled_images_are_sent_again_while_nobody_can_be_reached(
    leaves: list[LabelledImage], free_port: int
) -> None:
    with starting_late(free_port, 0.3) as url:
        answers = ask(url, leaves, expected_digest=DIGEST)
    assert len(answers.detections) == len(leaves)
    assert answers.failures == {}

"""The evidence is gathered from the serving application itself, in a process of its own, as in a delivery."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from banana_delivery.errors import DigestMismatchError
from banana_delivery.evaluation.acceptance_tests import integration, smoke
from banana_delivery.evaluation.answers import ask, matches
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.load_test import performance
from banana_delivery.evaluation.probe import Probe
from banana_delivery.policy.quality.comparison import absolute_quality
from tests.support.ports import free_port
from tests.unit.serving.detectors import CLASSES, GRID, write_model

DIGEST = "sha256:" + "d" * 64
VERSION = "7"
SIZE = 64
READY_SECONDS = 60.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A replica of a detector that finds red and blue squares."""
    folder = tmp_path_factory.mktemp("replica")
    port = free_port()
    settings = {
        "MODEL_PATH": str(write_model(folder)),
        "ENVIRONMENT": "staging",
        "COLOUR": "sole",
        "IMAGE_DIGEST": DIGEST,
        "PORT": str(port),
        "INFERENCE_WORKERS": "1",
    }
    root = Path(__file__).parents[3]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=root, env=os.environ | settings, stdout=log, stderr=log
        ) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, process, folder / "log")
            yield address
        finally:
            process.terminate()
            assert process.wait(30) == 0


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def squares() -> list[LabelledImage]:
    """Black pictures with one red or blue square that fills a cell of the detector."""
    return [square(cell) for cell in range(0, GRID * GRID, 5)]


def square(cell: int) -> LabelledImage:
    klass, side = cell % 2, SIZE // GRID
    x, y = side * (cell % GRID), side * (cell // GRID)
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[y : y + side, x : x + side, 2 * klass] = 255
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=95, subsampling=0)
    return LabelledImage(
        name=f"square-{cell}.jpg",
        jpeg=encoded.getvalue(),
        width=SIZE,
        height=SIZE,
        boxes=np.array([[x, y, x + side, y + side]], np.float64),
        classes=np.array([klass]),
        class_names=tuple(CLASSES),
    )


def test_the_serving_application_keeps_the_contract_that_the_checks_ask_for(
    url: str, squares: list[LabelledImage]
) -> None:
    rows = smoke(url, squares[0], DIGEST, VERSION) + integration(url, squares[:4], DIGEST, VERSION)
    rows.append(performance(url, squares, seconds=0.5, budget=10.0))
    assert [f"{row.name}: {row.detail}" for row in rows if not row.passed] == []


def test_a_detector_that_finds_every_square_has_full_quality(url: str, squares: list[LabelledImage]) -> None:
    answers = ask(url, squares, expected_digest=DIGEST, confidence=0.3)
    assert answers.failures == {}
    assert answers.versions == {VERSION}
    assert absolute_quality(matches(squares, answers)).map50 == pytest.approx(1.0)


def test_labels_that_are_wrong_by_class_name_are_not_found(url: str, squares: list[LabelledImage]) -> None:
    answers = ask(url, squares, confidence=0.3)
    swapped = [LabelledImage(**{**vars(image), "classes": 1 - image.classes}) for image in squares]
    assert absolute_quality(matches(swapped, answers)).map50 == pytest.approx(0.0)


def test_another_digest_than_meant_is_not_measured(url: str, squares: list[LabelledImage]) -> None:
    with pytest.raises(DigestMismatchError):
        ask(url, squares, expected_digest="sha256:" + "e" * 64)


def test_a_steady_load_is_answered_by_the_release_alone(url: str, squares: list[LabelledImage]) -> None:
    with Probe(url, squares, rate=50) as probe:
        while probe.counts().answered + probe.counts().failed < 20:
            time.sleep(0.02)
    counts = probe.counts()
    assert counts.failures == {}
    assert counts.sent == counts.answered + counts.overloads
    assert counts.digests == {DIGEST: counts.answered}

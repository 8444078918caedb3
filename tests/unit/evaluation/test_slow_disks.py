"""Labelled images on a disk that is slow, or that somebody edits meanwhile: none of that is the release's doing."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typing_extensions import override

from banana_delivery.errors import EvaluationError
from banana_delivery.evaluation import answers, client, load_test
from banana_delivery.evaluation.holdout.read import read
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.probe import Probe
from banana_delivery.settings import Settings
from tests.support.clock import HandClock
from tests.unit.evaluation.holdout import layouts
from tests.unit.evaluation.leaf_service import LeafService
from tests.unit.evaluation.test_probe import wait_until


@dataclass(frozen=True)
class SlowlyRead(LabelledImage):
    """An image whose reading takes ten seconds of a clock that nothing else moves."""

    clock: HandClock | None = None

    @property
    @override
    def encoded(self) -> bytes:
        assert self.clock is not None
        self.clock.sleep(10.0)
        return super().encoded


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def slow(leaves: list[LabelledImage], clock: HandClock) -> list[LabelledImage]:
    kept: list[dict[str, Any]] = [{one.name: getattr(leaf, one.name) for one in fields(leaf)} for leaf in leaves[:3]]
    return [SlowlyRead(**facts, clock=clock) for facts in kept]


def test_a_release_is_not_slow_because_the_disk_is(
    service: LeafService, slow: list[LabelledImage], clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (client, load_test):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock.monotonic))
    measured = load_test.measure(service.url, slow, seconds=25.0, timeout=5.0, clients=1)
    assert measured.latencies == [0.0, 0.0, 0.0]
    asked = answers.ask(service.url, slow, concurrency=1)
    assert asked.latencies == [0.0, 0.0, 0.0]


def edited(path: Path) -> None:
    layouts.picture(path, shade=200)


def moved(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return layouts.coco128(tmp_path / "data")


@pytest.mark.parametrize("changed", [edited, moved, emptied])
def test_an_image_that_is_not_what_it_was_is_told_once_and_the_others_are_sent(
    changed: Callable[[Path], None], dataset: Path, service: LeafService, caplog: pytest.LogCaptureFixture
) -> None:
    images = read(dataset).images
    changed(dataset / "images" / "val" / "b.png")
    with Probe(service.url, images, rate=200) as probe:
        wait_until(lambda: probe.counts().failed >= 3 and probe.counts().answered >= 3)
    assert set(probe.counts().failures) == {"client"}
    assert probe.counts().sent == probe.counts().answered + probe.counts().failed
    told = [record.message for record in caplog.records if "b.png" in record.message]
    assert len(told) == 1
    assert told[0].startswith("A labelled image cannot be sent")


def test_a_hold_out_that_was_edited_is_read_again_before_a_load_begins(
    dataset: Path, tmp_path: Path, service: LeafService, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = HttpEvaluator(Settings(home=tmp_path, holdout=dataset))
    before = evaluator.labelled.digest
    edited(dataset / "images" / "val" / "a.jpg")
    with evaluator.probe(service.url) as load:
        load.set_rate(200)
        wait_until(lambda: service.asked >= 6)
    assert evaluator.labelled.digest != before
    assert [record.message for record in caplog.records if "cannot be sent" in record.message] == []
    moved(dataset / "data.yaml")
    moved(dataset / "images" / "val" / "a.jpg")
    with pytest.raises(EvaluationError, match="No labels can be read"):
        evaluator.probe(service.url)


class Share:
    """A share that hangs, until the test is over."""

    def __init__(self, leaf: LabelledImage) -> None:
        self.name = leaf.name
        self.asked, self.back = threading.Event(), threading.Event()

    @property
    def encoded(self) -> bytes:
        self.asked.set()
        self.back.wait(60.0)
        return b""


def test_a_load_does_not_wait_for_a_disk_that_hangs_neither_while_it_runs_nor_at_its_end(
    service: LeafService, leaves: list[LabelledImage]
) -> None:
    share = Share(leaves[0])
    try:
        with Probe(service.url, [cast(LabelledImage, share), *leaves], rate=200) as probe:
            wait_until(lambda: share.asked.is_set() and probe.counts().answered >= 5)
        assert probe.counts().sent == probe.counts().answered, "what was not read is neither sent nor failed"
    finally:
        share.back.set()


def test_a_disk_that_hangs_for_too_long_is_told_and_is_no_timeout_of_the_service(
    service: LeafService,
    leaves: list[LabelledImage],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("banana_delivery.evaluation.probe.READING_SECONDS", 0.02)
    share = Share(leaves[0])
    try:
        with Probe(service.url, [cast(LabelledImage, share)], rate=200) as probe:
            wait_until(lambda: probe.counts().failed >= 1)
        assert set(probe.counts().failures) == {"client"}
        assert "leaf-0.jpg was not read within 0.02 s" in caplog.text
    finally:
        share.back.set()


def test_an_evaluator_is_ready_once_its_images_are_read_and_says_why_it_is_not(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = HttpEvaluator(Settings(home=tmp_path, holdout=dataset))
    assert evaluator.ready(60.0)
    edited(dataset / "images" / "val" / "a.jpg")
    assert evaluator.ready(60.0), "what was edited was not read again"
    moved(dataset / "data.yaml")
    moved(dataset / "images" / "val" / "a.jpg")
    assert not evaluator.ready(60.0)
    assert "The labelled images cannot be read: No labels can be read" in caplog.text.replace(f"{dataset}: ", "")

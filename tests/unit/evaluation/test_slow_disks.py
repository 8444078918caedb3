"""Labelled images on a disk that is slow, or that somebody edits meanwhile: none of that is the release's doing."""

from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import pytest
from typing_extensions import override

from banana_delivery.evaluation import answers, load_test
from banana_delivery.evaluation.labelled_images import LabelledImage
from tests.support.clock import HandClock
from tests.unit.evaluation.leaf_service import LeafService


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
    for module in (answers, load_test):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock.monotonic))
    measured = load_test.measure(service.url, slow, seconds=25.0, timeout=5.0, clients=1)
    assert measured.latencies == [0.0, 0.0, 0.0]
    asked = answers.ask(service.url, slow, concurrency=1)
    assert asked.latencies == [0.0, 0.0, 0.0]

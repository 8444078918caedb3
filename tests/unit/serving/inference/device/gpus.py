"""A GPU for machines without one: the CPU's own session, which answers late, wrong or not at all when it is told to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest

from serving.inference.device import network


@dataclass
class FakeGpu:
    """What all its sessions do.

    Attributes:
        refuses: what opening one raises.
        opened: how many were asked for.
        fails: what a run raises.
        off: added to every score of a raw head.
        goes_on: a run waits for it.
        ran: the frames of all runs.
    """

    refuses: Exception | None = None
    fails: Exception | None = None
    off: float = 0.0
    goes_on: threading.Event = field(default_factory=threading.Event)
    opened: int = 0
    ran: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.goes_on.set()

    def open(self, onnx: bytes, options: ort.SessionOptions) -> FakeSession:
        self.opened += 1
        if self.refuses:
            raise self.refuses
        return FakeSession(self, ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"]))


@dataclass
class FakeSession:
    """One session on it."""

    gpu: FakeGpu
    real: ort.InferenceSession

    def run(self, names: None, feed: dict[str, Any]) -> list[Any]:
        [planes] = feed.values()
        self.gpu.ran.append(planes.shape[2:])
        if not self.gpu.goes_on.wait(10):
            raise AssertionError("Nobody let the GPU go on.")
        if self.gpu.fails:
            raise self.gpu.fails
        answer = self.real.run(names, feed)[0]
        answer[:, 4:] += np.float32(self.gpu.off)
        return [answer]


def install(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu) -> None:
    """Has every network that is loaded from now on find this GPU."""
    monkeypatch.setattr(network, "is_built_in", lambda: True)
    monkeypatch.setattr(network, "open_session", gpu.open)

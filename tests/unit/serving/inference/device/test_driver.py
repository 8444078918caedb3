import ctypes
from typing import Any

import pytest

from serving.inference.device.driver import trouble


class Driver:
    """A libcuda that answers so."""

    def __init__(self, init: int = 0, count: int = 1, counted: int = 0) -> None:
        self._init, self._count, self._counted = init, count, counted

    def cuInit(self, flags: int) -> int:  # noqa: N802 - CUDA's name
        return self._init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 - CUDA's name
        count._obj.value = self._count
        return self._counted


def test_without_a_driver_it_says_so() -> None:
    assert trouble("libnobody-has.so.1") == "no NVIDIA driver is here (libnobody-has.so.1 cannot be loaded)"


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (Driver(), ""),
        (Driver(init=100), "the NVIDIA driver sees no GPU"),
        (Driver(init=803), "the NVIDIA driver does not start (CUDA error 803)"),
        (Driver(count=0), "the NVIDIA driver sees no GPU"),
        (Driver(counted=999), "the NVIDIA driver sees no GPU"),
    ],
    ids=["a GPU", "no device", "another driver than the kernel's", "none to count", "cannot count"],
)
def test_a_driver_is_asked_for_its_devices(driver: Driver, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)

    assert trouble() == why

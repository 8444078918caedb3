"""What each place to run refuses before anything is built for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery import platforms
from banana_delivery.bundle import GPU_SERVING_LOCK, SERVING_LOCK, serving_lock
from banana_delivery.errors import BadSettingsError
from banana_delivery.platforms import platform, registry_images
from banana_delivery.settings import Settings


def test_images_are_built_for_the_cpu_unless_somebody_wants_a_gpu() -> None:
    assert Settings().serving_device == "cpu"
    assert (serving_lock("cpu"), serving_lock("cuda")) == (SERVING_LOCK, GPU_SERVING_LOCK)


def test_the_embedded_stack_builds_nothing_for_gpus(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, serving_device="cuda")

    with pytest.raises(BadSettingsError, match="BANANA_SERVING_DEVICE=cuda needs images with packages of their own"):
        platform(settings).parts(settings)


def test_for_arm_there_are_no_images_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "host_platform", lambda: "linux/arm64")

    with pytest.raises(BadSettingsError, match="for linux/amd64 alone, and this host is linux/arm64"):
        registry_images(Settings(home=tmp_path, target="kubernetes", serving_device="cuda"))


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_integers_are_made_for_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(platforms, "host_platform", lambda: "linux/amd64")
    wanted = {"target": "kubernetes", "serving_device": "cuda", "precision": precision}

    with pytest.raises(BadSettingsError, match=f"BANANA_PRECISION={precision} weighs integers by what they save a CPU"):
        registry_images(Settings.model_validate({"home": tmp_path, **wanted}))

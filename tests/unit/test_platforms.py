"""What each place to run refuses before anything is built for it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery import platforms
from banana_delivery.bundle import GPU_SERVING_LOCK, SERVING_LOCK, serving_lock
from banana_delivery.errors import BadSettingsError
from banana_delivery.platforms import platform, registry_images
from banana_delivery.settings import Settings, load_settings
from tests.support.runtime_image import BOTH


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


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"target": "local"}, "this machine alone; leave it out, or set BANANA_TARGET=kubernetes"),
        ({"builder": "docker"}, "its own platform alone; leave it out, or set BANANA_BUILDER=registry"),
        ({"platforms": "linux/arm64"}, "leaves out linux/amd64, which this host is"),
        ({"platforms": "linux/arm64", "publisher_template": "writes"}, "leaves out linux/amd64, which this host is"),
        ({"serving_device": "cuda"}, "BANANA_PLATFORMS=linux/amd64,linux/arm64 asks for more"),
        ({"precision": "auto"}, "BANANA_PRECISION=auto shows on this host alone"),
        ({"precision": "int8", "publisher_template": "writes"}, "BANANA_PRECISION=int8 shows on this host alone"),
    ],
)
def test_images_for_several_platforms_are_refused_where_they_could_not_be_made_or_tested(
    wanted: dict[str, str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "host_platform", lambda: "linux/amd64")
    usual = {"home": tmp_path, "target": "kubernetes", "builder": "registry", "platforms": "linux/amd64,linux/arm64"}
    settings = Settings.model_validate({**usual, "registry_repository": "127.0.0.1:9/banana", **wanted})

    with pytest.raises(BadSettingsError, match=why):
        platform(settings).parts(settings)


def test_platforms_are_said_in_any_order_and_others_than_packages_are_laid_out_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platforms, "host_platform", lambda: "linux/amd64")
    for said in ("linux/arm64,linux/amd64", "linux/amd64, linux/arm64,linux/amd64"):
        settings = Settings(builder="registry", registry_repository="127.0.0.1:9/banana", platforms=said)
        assert settings.image_platforms == BOTH
        with closing(registry_images(settings)) as store:
            assert store._platform == "linux/amd64,linux/arm64"
    assert Settings().image_platforms == ()
    for bad in ("linux/s390x", "amd64", "linux/amd64;linux/arm64", '["linux/amd64"]'):
        monkeypatch.setenv("BANANA_PLATFORMS", bad)
        with pytest.raises(BadSettingsError, match="BANANA_PLATFORMS"):
            load_settings()

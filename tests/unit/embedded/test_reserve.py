"""A rollback on a full disk: what was kept for it is given back, and everybody else goes without."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from banana_delivery.embedded import reserve
from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.record import RecordFile
from banana_delivery.embedded.reserve import Reserve
from banana_delivery.embedded.router.traefik import Router
from banana_delivery.embedded.target import LocalTarget
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Colour, Deployment, Environment, ImageRef, Phase, RollbackIntent, RolloutRecord
from banana_delivery.settings import Settings
from tests.support.claims import steal

PRODUCTION = Environment.PRODUCTION
Fill = Callable[[], None]


def image(version: str) -> ImageRef:
    return ImageRef(repository="here", digest=f"sha256:{version * 64}", version=version, key="k")


def home_with_two_warm_colours(home: Path) -> LocalTarget:
    warm = {
        Colour.BLUE: Deployment(image=image("1"), replicas=1),
        Colour.GREEN: Deployment(image=image("2"), replicas=1),
    }
    served = RolloutRecord(
        environment=PRODUCTION,
        active=Colour.GREEN,
        deployments=warm,
        weights={Colour.BLUE: 0, Colour.GREEN: 100},
        previous=image("1"),
    )
    target = LocalTarget(Settings(home=home), lambda _: home)
    paths = LocalPaths(home)
    RecordFile(paths.record(PRODUCTION), paths.record_copy(PRODUCTION), PRODUCTION).write(served)
    Router(paths, 9).prepare()
    Router(paths, 9).write_weights(PRODUCTION, served.weights)
    target.release(target.claim(PRODUCTION, "Ada"))  # Whoever claims at rest sees to the reserve.
    return target


def users(home: Path) -> dict[str, int]:
    """Whom the router is told to send users to."""
    told = yaml.safe_load((home / "router" / "dynamic" / "production-weights.yml").read_text())
    (split,) = told["http"]["services"].values()
    return {service["name"]: service["weight"] for service in split["weighted"]["services"]}


@pytest.fixture(autouse=True)
def _router_that_takes_up_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Router, "await_weights", lambda *_: None)


@pytest.fixture
def full_when_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Fill]:
    """A home, and what makes every write fail for as long as the reserve is kept."""
    kept, sync = tmp_path / "home" / "reserve", os.fsync

    def fsync(handle: int) -> None:
        if any(kept.glob("*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    return tmp_path / "home", lambda: monkeypatch.setattr("banana_delivery.files.os.fsync", fsync)


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Fill]]:
    """A disk of its own, and what fills it to the last byte."""
    monkeypatch.setattr(reserve, "SLICE_BYTES", 1 << 16)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("Only root may mount a disk.")

    def fill() -> None:
        with pytest.raises(OSError, match="No space"), (disk / "litter").open("wb", buffering=0) as litter:
            while True:
                litter.write(b"x" * 4096)

    try:
        yield disk / "home", fill
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("disk", ["full_when_kept", "full_disk"])
def test_users_are_brought_back_on_a_full_disk_and_a_delivery_gets_none_of_the_reserve(
    disk: str, request: pytest.FixtureRequest
) -> None:
    home, fill = request.getfixturevalue(disk)
    target = home_with_two_warm_colours(home)
    fill()
    with pytest.raises(TargetError, match="make room"):
        target.claim(PRODUCTION, "a delivery")
    assert len(list((home / "reserve").iterdir())) == reserve.SLICES

    claim = steal(target, PRODUCTION, "Ada (rollback)")
    intent = RollbackIntent(bad=image("2"), good=image("1"), colour=Colour.GREEN, actor="Ada", reason="Errors.", at=1.0)
    record = target.record(PRODUCTION)
    target.write(claim, record.replace(phase=Phase.ROLLING_BACK, intent=intent, active=Colour.BLUE))
    target.set_weights(claim, {Colour.BLUE: 100, Colour.GREEN: 0})
    target.release(claim)

    after = target.record(PRODUCTION)
    assert (after.weights, after.active, after.owner) == ({Colour.BLUE: 100, Colour.GREEN: 0}, Colour.BLUE, None)
    assert users(home) == {"blue-user": 100, "green-user": 0}
    assert list((home / "reserve").iterdir()) == []


def test_another_error_than_a_full_disk_frees_nothing(tmp_path: Path) -> None:
    kept = Reserve(tmp_path / "reserve")
    kept.fill()

    def refused() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        kept.making_room(refused, lambda: True)
    assert kept.free()
    assert not kept.free()


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "LEFT_OVER", 1 << 40)
    Reserve(tmp_path / "reserve").fill()
    assert list((tmp_path / "reserve").iterdir()) == []

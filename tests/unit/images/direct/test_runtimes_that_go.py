"""Which runtime images retention removes, also while somebody puts others there or builds on one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.oci_registry.runtime import RuntimeRepository, made_tag, runtime_tag
from banana_delivery.waiting import Retries
from tests.support.runtime_image import DOCKERFILE, PLATFORM, put_runtime
from tests.unit.images.oci_registry.registry_server import RegistryServer

JUNE = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def runtimes(registry: RegistryServer, base: str, tmp_path: Path) -> Iterator[RuntimeRepository]:
    """Of 1, 2 and 3 January, of which nothing is used."""
    for day in (1, 2, 3):
        (tmp_path / f"lock{day}").write_text(f"lock {day}")
        put_runtime(registry, tmp_path / f"lock{day}", base, day=day)
    repository = Repository.parse(f"{registry.host}/acme/banana-runtime")
    with closing(RegistryClient(repository, Credentials(), Retries(attempts=1), print)) as client:
        yield RuntimeRepository(client)


@pytest.fixture
def old(runtimes: RuntimeRepository, base: str, tmp_path: Path) -> Manifest:
    """The one of 1 January."""
    found = runtimes.find(runtime_tag(DOCKERFILE.read_text(), tmp_path / "lock1", base, PLATFORM), PLATFORM)
    assert found
    return found


@pytest.mark.parametrize(("day", "left"), [(8, 3), (9, 2), (10, 1), (100, 1)])
def test_a_runtime_that_was_put_together_for_later_waits_a_week_for_its_first_release(
    runtimes: RuntimeRepository, day: int, left: int
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + (day - 1) * 86_400 - 3_600
    runtimes.prune(tuple, now)
    assert len(runtimes.client.tags()) == left


def test_what_is_stood_on_while_others_are_looked_at_stays(
    registry: RegistryServer, runtimes: RuntimeRepository, old: Manifest
) -> None:
    listed: list[int] = []

    def released_meanwhile() -> list[str]:
        listed.append(registry.others[-1].asked["GET manifests"])
        return [runtimes.pinned(old.digest)]

    assert len(runtimes.prune(released_meanwhile, JUNE)) == 1
    assert runtimes.client.digest_of(old.digest)
    assert len(runtimes.client.tags()) == 2
    assert len(listed) == 1 and listed[0] >= 3, "asked before what is there was known"


def test_while_somebody_puts_a_runtime_together_none_is_removed(runtimes: RuntimeRepository, old: Manifest) -> None:
    """It may be an index over one that was there before, which has the same digest again."""
    before = set(runtimes.client.tags())

    def meanwhile() -> list[str]:
        runtimes.client.put_manifest(made_tag(JUNE), old)
        return []

    assert runtimes.prune(meanwhile, JUNE) == []
    assert set(runtimes.client.tags()) == {*before, made_tag(JUNE)}
    assert len(runtimes.prune(list, JUNE)) == 2, "by now it is the newest"
    assert runtimes.client.digest_of(old.digest)

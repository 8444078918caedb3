"""What a registry refuses or hides: it stops no other removal, and nothing goes for it that something else needs."""

from __future__ import annotations

import json
from functools import partial

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.names import DOOMED_TAG_PREFIX, PARDONED_TAG_PREFIX
from tests.contract.image_store_contract import nobody
from tests.unit.images.oci_registry.conftest import LEASE, Images
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer
from tests.unit.images.oci_registry.test_parts import index, key, part


def alone(registry: RegistryServer, version: str, again: str) -> list[Manifest]:
    return [part(registry, version, "amd64", again)]


def three(registry: RegistryServer, images: Images, now: list[float]) -> list[str]:
    """Releases for one platform whose leases are over; their digests, the oldest first."""
    made = []
    for version in "123":
        now[0] += 1
        made.append(images().put(key(version), partial(alone, registry, version)).digest)
    now[0] += 2 * LEASE
    return made


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (409, b"MANIFEST_REFERENCED"),  # GitLab's, of what somebody's index names.
        (412, b"PRECONDITION immutable tag"),  # Harbor's rules for tags.
        (405, b"UNSUPPORTED the operation is disallowed on this image"),  # Azure's, of a locked image.
        (400, b"ImageReferencedByManifestList"),  # ECR's.
        (403, b"DENIED protected tag"),
    ],
)
def test_an_image_that_the_registry_refuses_to_remove_stays_and_stops_no_other_removal(
    status: int, said: bytes, registry: RegistryServer, images: Images, now: list[float]
) -> None:
    oldest, held, newest = three(registry, images, now)
    usual = registry._manifest
    registry._manifest = (  # type: ignore[method-assign]
        lambda method, name, content: (
            Answer(status, said) if (method, name) == ("DELETE", held) else usual(method, name, content)
        )
    )

    decisions = {one.ref.digest: one for one in images().prune(1, nobody, dry_run=False)}

    assert [decisions[one].keep for one in (newest, held, oldest)] == [True, True, False]
    assert decisions[held].refused
    assert "refuses" in decisions[held].reason
    assert decisions[held].freed_bytes == 0
    assert not decisions[newest].refused
    assert oldest not in registry.manifests
    assert not [tag for tag in registry.tags if tag.startswith((DOOMED_TAG_PREFIX, PARDONED_TAG_PREFIX))]
    assert images().resolve(held)


def test_where_nothing_can_be_removed_that_is_said_once_and_not_tried_for_each_image(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    three(registry, images, now)
    usual = registry._manifest
    registry._manifest = (  # type: ignore[method-assign]
        lambda method, name, content: Answer(405) if method == "DELETE" else usual(method, name, content)
    )

    with pytest.raises(ImageError, match="does not allow deletes"):
        images().prune(1, nobody, dry_run=False)

    assert len([tag for tag in registry.tags if tag.startswith(DOOMED_TAG_PREFIX)]) == 1


def test_no_image_goes_that_an_index_which_stays_names_although_the_list_of_tags_forgets_that_one(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    shared, own, newer = (
        part(registry, "1", name, note) for name, note in (("amd64", ""), ("arm64", ""), ("arm64", "n"))
    )
    images().put(key("1"), lambda _: [shared, own, index({"amd64": shared, "arm64": own})])
    now[0] += 1
    second = images().put(key("1"), lambda _: [shared, newer, index({"amd64": shared, "arm64": newer})])
    now[0] += 2 * LEASE
    lists = 0

    def forgets(_method: str, path: str, usual: Answer) -> Answer:
        nonlocal lists
        lists += path.startswith("tags/")
        if not path.startswith("tags/") or lists == 1:
            return usual
        shown = [tag for tag, its in registry.tags.items() if its != second.digest]
        return Answer(200, json.dumps({"name": registry.path, "tags": shown}).encode())

    registry.habit = forgets
    images().prune(1, nobody, dry_run=False)

    assert {second.digest, *second.children} <= registry.manifests.keys()


def test_nothing_is_removed_by_a_list_of_tags_that_does_not_show_what_was_written_just_now(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    oldest, *_ = three(registry, images, now)
    stale = json.dumps({"name": registry.path, "tags": list(registry.tags)}).encode()
    registry.habit = lambda _method, path, usual: Answer(200, stale) if path.startswith("tags/") else usual

    decisions = images().prune(1, nobody, dry_run=False)

    assert [(one.keep, one.refused) for one in decisions] == [(True, False), (True, True), (True, True)]
    assert "does not list the tag" in decisions[-1].reason
    assert oldest in registry.manifests
    assert not [tag for tag in registry.tags if tag.startswith(DOOMED_TAG_PREFIX)]


def test_an_image_whose_config_the_registry_lost_is_made_whole_by_the_next_build_and_stops_no_retention(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    _, broken, newest = three(registry, images, now)
    config = json.loads(registry.manifests[broken])["config"]["digest"]
    content = registry.blobs.pop(config)
    images()._kept.forget(config)

    assert images().find(key("2")) is None
    assert [one.ref.digest for one in images().prune(1, nobody, dry_run=False) if one.keep] == [newest]
    registry.blobs[config] = content
    assert images().find(key("2"))

"""What a registry refuses or hides: it stops no other removal, and nothing goes for it that something else needs."""

from __future__ import annotations

import json
from functools import partial
from itertools import takewhile

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.names import DOOMED_TAG_PREFIX, PARDONED_TAG_PREFIX, STABLE_TAG
from tests.contract.image_store_contract import nobody
from tests.unit.images.oci_registry.conftest import LEASE, Images
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer
from tests.unit.images.oci_registry.test_parts import index, key, part, release


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


def test_nothing_is_removed_while_the_registry_does_not_find_what_stable_leads_to(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    oldest, *_ = three(registry, images, now)
    registry.tags[STABLE_TAG] = oldest
    registry.habit = lambda _method, path, usual: Answer(404) if path == f"manifests/{STABLE_TAG}" else usual

    decisions = images().prune(1, nobody, dry_run=False)

    assert "lists `stable` and does not find what it leads to" in decisions[-1].reason
    assert oldest in registry.manifests


def test_nothing_is_removed_by_a_list_of_tags_that_was_cut_off_before_the_newest_leases(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    oldest, _, newest = three(registry, images, now)
    registry.tags[STABLE_TAG] = newest
    before = set(registry.tags)
    assert images().resolve(oldest)

    def cut(_method: str, path: str, usual: Answer) -> Answer:
        shown = takewhile(lambda tag: tag in before or tag.startswith(DOOMED_TAG_PREFIX), sorted(registry.tags))
        return Answer(200, json.dumps({"tags": list(shown)}).encode()) if path.startswith("tags/") else usual

    registry.habit = cut
    decisions = images().prune(1, nobody, dry_run=False)

    assert [one.refused for one in decisions] == [False, True, True]
    assert "its list of tags is not whole" in decisions[-1].reason
    assert oldest in registry.manifests


@pytest.mark.parametrize("methods", [("GET",), ("GET", "HEAD")])
@pytest.mark.parametrize("by_a_cache", [True, False])
def test_no_image_of_an_index_goes_while_something_else_is_answered_for_the_index(
    by_a_cache: bool, methods: tuple[str, ...], registry: RegistryServer, images: Images, now: list[float]
) -> None:
    """A cache that knows no ``Accept`` has the image of one platform, and a proxy a page of its own."""
    made = images().put(key("1"), release(registry, "1"))
    now[0] += 1
    images().put(key("2"), release(registry, "2"))
    now[0] += 2 * LEASE
    images()._kept.forget_all_but(())
    its = {f"manifests/{tag}" for tag, digest in registry.tags.items() if digest == made.digest}
    page = Answer(200, b'{"message": "closed for the day"}')

    def other(method: str, path: str, usual: Answer) -> Answer:
        if method not in methods or path not in its:
            return usual
        return registry._manifest("GET", made.children[0], b"") if by_a_cache else page

    registry.habit = other
    for _ in range(3):
        images().prune(1, lambda: [made.digest], dry_run=False)
        now[0] += 100 * LEASE

    registry.habit = lambda _method, _path, usual: usual
    assert images().find(key("1"))
    assert set(made.children) <= registry.manifests.keys()

"""Indexes as releases: which are believed, and that none of their images goes before them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import pytest

from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, MANIFEST_TYPES, Manifest
from banana_delivery.images.oci_registry.pins import for_people, part_tag, part_tags, pin_tag
from banana_delivery.images.supply_chain.attachments import canonical
from banana_delivery.names import KEY_LABEL, VERSION_LABEL
from tests.contract.image_store_contract import nobody
from tests.unit.images.oci_registry.conftest import LEASE, Images
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest


def part(
    registry: RegistryServer, version: str, architecture: str, note: str = "", labels: dict[str, str] | None = None
) -> Manifest:
    """A release for one platform, whose blobs are there."""
    told = labels or {
        KEY_LABEL: key(version),
        VERSION_LABEL: version,
        "architecture": f"as the base calls {architecture}",
    }
    config = {
        "created": "1980-01-01T00:00:00Z",
        "os": "linux",
        "architecture": architecture,
        "config": {"Labels": told},
        "rootfs": {"diff_ids": []},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[1],
        "config": registry._descriptor(json.dumps(config).encode()),
        "layers": [registry._descriptor(f"layer of {version} for {architecture}".encode())],
        "annotations": {"note": note},
    }
    return Manifest.of(canonical(document))


def index(parts: dict[str, Manifest], **others: Any) -> Manifest:
    named = [
        {"mediaType": one.media_type, "digest": one.digest, "size": len(one.body), "platform": platform_of(name)}
        for name, one in parts.items()
    ]
    return Manifest.of(canonical({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": named, **others}))


def platform_of(architecture: str) -> dict[str, str]:
    return {"os": "linux", "architecture": architecture.rstrip("!")}


def key(version: str) -> str:
    return digest(version.encode()).removeprefix("sha256:")


def release(registry: RegistryServer, version: str, note: str = "") -> Callable[[str], list[Manifest]]:
    """What is put for a version."""

    def made(again: str) -> list[Manifest]:
        both = {name: part(registry, version, name, note + again) for name in ("amd64", "arm64")}
        return [*both.values(), index(both)]

    return made


def put(registry: RegistryServer, *manifests: Manifest) -> str:
    for one in manifests:
        registry.manifests[one.digest] = one.body
    return manifests[-1].digest


def test_an_index_goes_with_its_images_and_those_that_another_one_names_stay(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    both = {name: part(registry, "1", name) for name in ("amd64", "arm64")}
    images().put(key("1"), lambda _: [*both.values(), index(both)])
    newer = part(registry, "1", "arm64", "on other packages")
    now[0] += 1
    second = images().put(key("1"), lambda _: [both["amd64"], newer, index({"amd64": both["amd64"], "arm64": newer})])
    now[0] += 2 * LEASE

    decisions = images().prune(1, nobody, dry_run=False)

    assert [(one.ref.digest, one.keep) for one in decisions] == [(second.digest, True), (index(both).digest, False)]
    assert set(registry.manifests) == {second.digest, both["amd64"].digest, newer.digest}
    assert decisions[1].freed_bytes > len(both["arm64"].body)
    assert images().resolve(second.digest)


def test_an_image_of_an_index_is_no_release_beside_it_and_outlives_a_lease_of_its_own(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    made = images().put(key("1"), release(registry, "1"))
    alone = made.children[1]
    now[0] += LEASE
    assert images().resolve(alone), "whoever has its digest is given it"
    assert any(tag.startswith("lease-") for tag, its in registry.tags.items() if its == alone)
    # As in a repository that the index was copied into, where nothing but the index has a tag.
    registry.tags = {tag: its for tag, its in registry.tags.items() if not tag.startswith("part-")}
    now[0] += 1
    images().put(key("2"), release(registry, "2"))
    now[0] += 2 * LEASE

    assert [one.ref.version for one in images().prune(2, nobody, dry_run=False)] == ["2", "1"]
    assert set(made.children) <= registry.manifests.keys()
    assert [one.keep for one in images().prune(1, nobody, dry_run=False)] == [True, False]
    assert registry.manifests.keys().isdisjoint([made.digest, *made.children])


def test_what_somebody_left_behind_who_died_before_the_index_goes_once_its_lease_is_over(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    lonely = part(registry, "1", "amd64")
    put(registry, lonely)
    registry.tags[part_tag(lonely.digest, now[0])] = lonely.digest
    images().put(key("2"), release(registry, "2"))
    assert not for_people(part_tags(registry.tags).values())

    for waits, there in ((LEASE / 2, True), (LEASE, False)):
        now[0] += waits
        assert [one.ref.version for one in images().prune(9, nobody, dry_run=False)] == ["2"]
        assert (lonely.digest in registry.manifests) == there
    assert len(registry.manifests) == 3


def test_nothing_is_taken_for_left_behind_while_an_index_cannot_be_seen(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    made = images().put(key("1"), release(registry, "1"))
    now[0] += 2 * LEASE
    whole = dict(registry.manifests)
    for hidden in (made.digest, made.children[0]):
        registry.manifests = {name: body for name, body in whole.items() if name != hidden}
        images()._kept.forget_all_but(())

        images().prune(9, nobody, dry_run=False)

        assert whole.keys() - registry.manifests.keys() == {hidden}
    registry.manifests = whole
    assert images().resolve(made.digest)


def test_a_release_that_is_built_again_while_its_images_are_removed_is_whole(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    moments = 6  # Once before all, once for the index, and twice for each of its images.
    for moment in range(1, moments + 1):
        images().put(key("1"), release(registry, "1"))
        now[0] += 1
        images().put(key("2"), release(registry, "2"))
        now[0] += 2 * LEASE
        asked = 0

        def build_meanwhile(at: int = moment) -> Collection[str]:
            nonlocal asked
            asked += 1
            if asked == at:
                images().put(key("1"), release(registry, "1"))
            return ()

        images().prune(1, build_meanwhile, dry_run=False)

        found = images().find(key("1"))
        assert found or moment > asked
        assert asked <= moments
        assert found is None or set(found.manifest.children) <= registry.manifests.keys()
        registry.manifests.clear()
        registry.tags.clear()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_removal_that_breaks_off_anywhere_leaves_no_index_without_its_images_and_is_done_next_time(
    method: str, registry: RegistryServer, images: Images, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in range(3):
        made = images().put(key("1"), release(registry, "1"))
        now[0] += 1
        newest = images().put(key("2"), release(registry, "2"))
        now[0] += 2 * LEASE
        rest = left

        def dies(asked: str, path: str, usual: Answer) -> Answer:
            nonlocal rest
            rest -= asked == method and path.startswith("manifests")
            return Answer(403) if rest < 0 and asked in ("PUT", "DELETE") else usual

        monkeypatch.setattr(registry, "answer", guarded(registry, dies))
        with pytest.raises(Exception, match="refused the credentials"):
            images().prune(1, nobody, dry_run=False)
        monkeypatch.undo()
        assert made.digest in registry.manifests or set(made.children) & registry.manifests.keys()
        if made.digest in registry.manifests:
            assert set(made.children) <= registry.manifests.keys()

        now[0] += 2 * LEASE
        images().prune(1, nobody, dry_run=False)
        assert registry.manifests.keys() == {newest.digest, *newest.children}
        registry.manifests.clear()
        registry.tags.clear()


def guarded(
    registry: RegistryServer, dies: Callable[[str, str, Answer], Answer]
) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """Refuses before anything is done, not after."""
    usual = registry.answer

    def answer(method: str, url: str, headers: dict[str, str], content: bytes) -> Answer:
        refused = dies(method, url.removeprefix(registry.prefix), Answer(200))
        return refused if refused.status == 403 else usual(method, url, headers, content)

    return answer


def test_an_index_of_somebody_elses_making_is_a_release_only_if_all_of_it_says_the_same(
    registry: RegistryServer, images: Images
) -> None:
    amd, arm = (part(registry, "1", name) for name in ("amd64", "arm64"))
    put(registry, amd, arm)
    other = part(registry, "2", "arm64")
    more = part(registry, "1", "arm64", labels={KEY_LABEL: key("1"), VERSION_LABEL: "1", "banana.model.sha256": "x"})
    none = part(registry, "1", "arm64", labels={"theirs": "1"})
    nested = index({"arm64": arm})
    good = index({"amd64": amd, "arm64": arm})
    builder = {"digest": amd.digest, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}}
    bad = [
        index({"amd64": amd, "arm64": other}),
        index({"amd64": amd, "arm64": more}),
        index({"amd64": amd, "arm64": none}),
        index({"amd64": amd, "arm64": nested}),
        index({"amd64": arm, "arm64": amd}),
        index({"amd64": amd, "amd64!": amd}),
        index({"amd64": amd, "arm64": part(registry, "1", "arm64", "not there")}),
        index({}),
        index({"amd64": amd}, config=amd.document["config"]),
        index({"amd64": amd}, layers=[]),
        index({"amd64": amd}, mediaType=MANIFEST_TYPES[1]),
        Manifest.of(canonical({**good.document, "manifests": [*good.document["manifests"], builder]})),
        Manifest.of(canonical({**good.document, "manifests": [*good.document["manifests"], 5]})),
    ]
    put(registry, other, more, none, nested)
    for one in (good, *bad):
        registry.tags |= dict.fromkeys([f"key-{key('1')[:32]}", "theirs", pin_tag(one.digest, 5)], put(registry, one))

        found = images().find(key("1")), images().peek("theirs"), images().peek(one.digest)

        assert [bool(image) for image in found] == [one is good] * 3, bad.index(one) if one in bad else "good"
    assert [one.ref.digest for one in images().prune(9, nobody, dry_run=True)] == [good.digest]


def test_an_index_whose_images_lack_a_layer_is_not_found(registry: RegistryServer, images: Images) -> None:
    made = images().put(key("1"), release(registry, "1"))
    assert images().find(key("1"))
    del registry.blobs[digest(b"layer of 1 for arm64")]

    assert images().find(key("1")) is None
    assert images().peek(made.digest)

"""Tags that lead to nothing: they go once that is certain, and with them what their indexes left."""

from __future__ import annotations

from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.pins import lost_marks, note_of, part_tag
from banana_delivery.images.oci_registry.removal.lost import LOST_SECONDS
from banana_delivery.names import LEASE_TAG_PREFIX, STABLE_TAG
from tests.contract.image_store_contract import nobody
from tests.unit.images.oci_registry.conftest import LEASE, Images
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer
from tests.unit.images.oci_registry.test_parts import key, part, put, release


def lose(registry: RegistryServer, index: str) -> None:
    """Docker's registry stopped in the middle of a removal: the manifest is gone, and its tags are there."""
    del registry.manifests[index]


def parts_left(registry: RegistryServer, images: Images, now: list[float]) -> tuple[str, set[str]]:
    """An index whose removal was not carried through, and its images; a second release is whole."""
    old = images().put(key("1"), release(registry, "1"))
    now[0] += 1
    images().put(key("2"), release(registry, "2"))
    now[0] += 2 * LEASE
    lose(registry, old.digest)
    images()._kept.forget_all_but(())
    return old.digest, set(old.children)


def test_tags_that_lead_to_nothing_for_long_are_removed_and_then_what_their_index_left(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    _, parts = parts_left(registry, images, now)

    for waits, there in ((0.0, True), (LOST_SECONDS - 1, True), (2.0, False), (0.0, False)):
        now[0] += waits
        assert [one.ref.version for one in images().prune(9, nobody, dry_run=False)] == ["2"]
        assert (parts <= registry.manifests.keys()) == there
        assert bool(parts & registry.manifests.keys()) == there

    assert set(registry.tags.values()) <= registry.manifests.keys(), "nothing leads to nothing any more"
    assert len(registry.manifests) == 3, "no note is left either"
    assert images().find(key("2"))


def test_an_index_that_was_hidden_for_a_while_is_as_it_was_and_may_be_hidden_again(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    made = images().put(key("1"), release(registry, "1"))
    now[0] += 2 * LEASE
    whole, tags = dict(registry.manifests), dict(registry.tags)
    for _ in range(3):
        lose(registry, made.digest)
        images()._kept.forget_all_but(())
        images().prune(9, nobody, dry_run=False)
        registry.manifests |= whole
        now[0] += 2 * LOST_SECONDS
        images().prune(9, nobody, dry_run=False)
        now[0] += 2 * LOST_SECONDS

    assert registry.manifests == whole
    assert registry.tags == tags
    assert images().resolve(made.digest)


def test_what_an_environment_runs_is_never_taken_for_removed(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old, parts = parts_left(registry, images, now)

    for _ in range(3):
        now[0] += 2 * LOST_SECONDS
        images().prune(9, lambda: [old], dry_run=False)

    assert parts <= registry.manifests.keys()
    assert [tag for tag in registry.tags if tag.startswith(LEASE_TAG_PREFIX) and registry.tags[tag] == old]


def test_a_release_that_is_built_again_while_its_lost_tags_are_removed_is_there_to_stay(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    parts_left(registry, images, now)
    images().prune(9, nobody, dry_run=False)
    now[0] += 2 * LOST_SECONDS
    built: list[str] = []

    def build_meanwhile(method: str, path: str, usual: Answer) -> Answer:
        if method in ("PUT", "DELETE") and not built:
            built.append("")
            built.append(images().put(key("1"), release(registry, "1")).digest)
        return usual

    registry.habit = build_meanwhile
    images().prune(9, nobody, dry_run=False)
    registry.habit = lambda _method, _path, usual: usual
    for _ in range(2):
        images().prune(9, nobody, dry_run=False)

    found = images().resolve(built[1])
    assert found
    assert set(found.manifest.children) <= registry.manifests.keys()


def test_who_died_between_writing_upon_a_lost_tag_and_removing_it_is_followed_by_the_next(
    registry: RegistryServer, images: Images, now: list[float], client: RegistryClient
) -> None:
    old, parts = parts_left(registry, images, now)
    images().prune(9, nobody, dry_run=False)
    for tag in [tag for tag, its in registry.tags.items() if its == old]:
        client.put_manifest(tag, note_of(tag))
    now[0] += 2 * LOST_SECONDS

    images().prune(9, nobody, dry_run=False)

    assert not parts & registry.manifests.keys()
    assert len(registry.manifests) == 3


def test_tags_that_cannot_be_written_upon_leave_everything_as_it_is(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    _, parts = parts_left(registry, images, now)
    images().prune(9, nobody, dry_run=False)
    now[0] += 2 * LOST_SECONDS
    usual = registry._manifest
    registry._manifest = (  # type: ignore[method-assign]
        lambda method, name, content: (
            Answer(409, b"immutable") if method == "PUT" and name in registry.tags else usual(method, name, content)
        )
    )

    images().prune(9, nobody, dry_run=False)

    assert parts <= registry.manifests.keys()


def test_a_part_whose_tag_leads_to_nothing_stops_no_other(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    lonely, lost = part(registry, "1", "amd64"), part(registry, "1", "arm64")
    put(registry, lonely)
    registry.tags |= {part_tag(one.digest, now[0]): one.digest for one in (lonely, lost)}
    images().put(key("2"), release(registry, "2"))
    now[0] += 2 * LEASE

    images().prune(9, nobody, dry_run=False)

    assert lonely.digest not in registry.manifests


def test_a_note_that_was_taken_back_but_is_listed_still_makes_nobody_surer(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    made = images().put(key("1"), release(registry, "1"))
    now[0] += 2 * LEASE
    whole = dict(registry.manifests)

    def hide() -> None:
        lose(registry, made.digest)
        images()._kept.forget_all_but(())
        images().prune(9, nobody, dry_run=False)

    hide()
    noted = {tag: its for tag, its in registry.tags.items() if lost_marks([tag])}
    registry.manifests |= whole
    images().prune(9, nobody, dry_run=False)
    assert not lost_marks(registry.tags)
    registry.tags |= noted  # The registry was stopped in the middle of that, too.
    now[0] += 2 * LOST_SECONDS
    hide()

    assert set(made.children) <= registry.manifests.keys()
    now[0] += 2 * LOST_SECONDS
    images().prune(9, nobody, dry_run=False)
    assert not registry.manifests, "what was noted anew counts"


def test_nothing_is_taken_for_removed_while_stable_leads_to_nothing(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old, parts = parts_left(registry, images, now)
    registry.tags[STABLE_TAG] = old
    before = dict(registry.tags)

    for _ in range(3):
        images().prune(9, nobody, dry_run=False)
        now[0] += 2 * LOST_SECONDS

    assert parts <= registry.manifests.keys()
    assert registry.tags == before

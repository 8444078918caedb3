"""How many requests retention costs, and that what it kept from before is never believed too far."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.pins import NOTE_CONTENTS, pin_tag
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind, attachment_tag
from banana_delivery.names import KEY_LABEL, VERSION_LABEL
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest

NOW = 1_800_000_000.0
FEW = 11


def add(registry: RegistryServer, number: int, *tags: str) -> str:
    """An image as a delivery leaves it behind: with its version, its code's revision, its key and a lease."""
    image = registry.put_image(str(number), f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z", *tags)
    registry.tags |= dict.fromkeys([str(number), f"sha-{number:012x}", "latest", pin_tag(image, number)], image)
    return image


@pytest.fixture
def process(registry: RegistryServer, client: RegistryClient, tmp_path: Path) -> Callable[[], RegistryImages]:
    """The releases as a new process sees them: what it kept lies in files."""
    repository = Repository.parse(f"{registry.host}/acme/banana")

    def make() -> RegistryImages:
        return RegistryImages(client, repository, 3600.0, lambda: NOW, KeptContent(tmp_path / "kept"))

    return make


@pytest.mark.parametrize("count", [10, 40])
def test_retention_asks_a_few_requests_for_what_changed_however_many_images_there_are(
    count: int, registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    for number in range(1, count + 1):
        add(registry, number)
    registry.blobs |= {digest(content): content for content in NOTE_CONTENTS}  # From an earlier removal.
    registry.tags["stable"] = registry.tags["1"]
    process().prune(count, tuple, dry_run=False)
    add(registry, count + 1)
    registry.asked.clear()

    decisions = process().prune(count, tuple, dry_run=False)

    assert [decision.ref.version for decision in decisions if not decision.keep] == [], "the oldest one is stable"
    assert len(decisions) == count + 1
    assert registry.asked.total() <= FEW

    registry.tags["stable"] = registry.tags["2"]
    registry.asked.clear()
    decisions = process().prune(count, tuple, dry_run=False)

    assert [decision.ref.version for decision in decisions if not decision.keep] == ["1"]
    assert registry.asked.total() <= FEW
    assert not [tag for tag in registry.tags if tag.startswith(("doomed-", "pardoned-"))]
    registry.asked.clear()
    assert len(process().prune(count, tuple, dry_run=False)) == count
    assert registry.asked.total() <= FEW


def test_the_first_look_reads_each_image_once(registry: RegistryServer, process: Callable[[], RegistryImages]) -> None:
    for number in range(1, 11):
        add(registry, number)

    process().prune(10, tuple, dry_run=True)

    assert registry.asked.total() <= 2 * 10 + FEW


def test_an_image_without_a_lease_is_found_by_its_key_and_a_foreign_one_is_left_alone(
    registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    leased = add(registry, 2)
    old = registry.put_image("1", "2026-01-01T00:00:00Z", "1")
    registry.put_image("theirs", "2025-01-01T00:00:00Z", "theirs", foreign=True)

    for _ in range(2):
        assert [decision.ref.digest for decision in process().prune(1, tuple, dry_run=True)] == [leased, old]
    assert process().tags(old) == {"1"}


def test_an_image_that_somebody_else_removed_is_gone_although_it_is_kept(
    registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    first, second = add(registry, 1), add(registry, 2)
    assert len(process().prune(9, tuple, dry_run=True)) == 2

    registry.answer("DELETE", f"/v2/acme/banana/manifests/{first}", {}, b"")

    assert [decision.ref.digest for decision in process().prune(9, tuple, dry_run=True)] == [second]


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
def test_kept_content_that_was_damaged_is_read_again(
    damage: bytes, registry: RegistryServer, process: Callable[[], RegistryImages], tmp_path: Path
) -> None:
    add(registry, 1)
    before = process().prune(9, tuple, dry_run=True)
    files = list((tmp_path / "kept").iterdir())
    for file in files:
        file.write_bytes(damage)

    assert process().prune(9, tuple, dry_run=True) == before
    assert len(files) == 2, "a manifest and a config"


def test_no_more_is_kept_than_lies_in_the_registry_and_a_folder_that_cannot_be_written_costs_requests_alone(
    registry: RegistryServer, process: Callable[[], RegistryImages], tmp_path: Path
) -> None:
    add(registry, 1)
    add(registry, 2)
    process().prune(1, tuple, dry_run=False)
    process().prune(1, tuple, dry_run=True)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    for file in (tmp_path / "kept").iterdir():
        file.unlink()
    (tmp_path / "kept").rmdir()
    (tmp_path / "kept").write_text("in the way")

    assert len(process().prune(9, tuple, dry_run=True)) == 1


@pytest.mark.parametrize("first", ["doomed-", "lease-", "key-", "sha-"])
@pytest.mark.parametrize("takes_all", [False, True])
def test_nobody_is_given_an_image_of_which_the_registry_has_deleted_the_manifest_and_a_part_of_the_tags(
    first: str, takes_all: bool, registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    image, _ = add(registry, 1), add(registry, 2)
    halfway, go_on = threading.Event(), threading.Event()
    pruning = threading.Thread(target=lambda: process().prune(1, tuple, dry_run=False))
    usual = registry._manifest

    def one_by_one(method: str, name: str, content: bytes) -> Answer:
        if (method, name) != ("DELETE", image):
            return usual(method, name, content)
        del registry.manifests[image]
        seen = [tag for tag, digest in registry.tags.items() if digest == image]
        for tag in (tag for tag in seen if tag.startswith(first)):
            del registry.tags[tag]
        halfway.set()
        assert go_on.wait(10)
        later = [tag for tag, digest in registry.tags.items() if digest == image and (takes_all or tag in seen)]
        for tag in later:
            del registry.tags[tag]
        return Answer(202)

    def just_before_the_lease(_method: str, path: str, answer: Answer) -> Answer:
        if path.startswith("tags/") and not pruning.ident:
            pruning.start()
            assert halfway.wait(10)
        return answer

    releasing = process()
    found = releasing.read(image)
    assert found
    registry._manifest = one_by_one  # type: ignore[method-assign]
    registry.habit = just_before_the_lease

    given = releasing.pin(found)
    go_on.set()
    pruning.join()

    assert given is None
    assert process().find(found.ref.key) is None


def test_a_registry_that_deletes_nothing_pardons_by_name(
    registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    image, _ = add(registry, 1), add(registry, 2)
    usual = registry._manifest
    registry._manifest = (  # type: ignore[method-assign]
        lambda method, name, content: Answer(405) if method == "DELETE" else usual(method, name, content)
    )

    with pytest.raises(ImageError, match="does not allow deletes"):
        process().prune(1, tuple, dry_run=False)

    assert process().resolve(image)


def test_docker_s_registry_is_asked_again_where_it_met_a_half_written_tag(
    registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    image, _ = add(registry, 1), add(registry, 2)
    refusals = [Answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')]
    registry.habit = lambda method, _path, usual: refusals.pop() if method == "DELETE" and refusals else usual

    process().prune(1, tuple, dry_run=False)

    assert image not in registry.tags.values()


def beside(registry: RegistryServer, image: str, layer: dict[str, object]) -> None:
    """A document that somebody put beside an image who may push."""
    body = json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()
    registry.manifests[digest(body)] = body
    registry.tags[attachment_tag(image, AttachmentKind.SIGNATURE)] = digest(body)


@pytest.mark.parametrize("chunked", [False, True])
def test_no_more_of_a_document_is_read_than_it_is_said_to_have(
    chunked: bool, registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    image, content = add(registry, 1), b"x" * 5000
    registry.blobs[digest(content)] = content
    registry.habit = lambda _method, _path, usual: replace(usual, chunked=chunked)
    told: dict[str, object] = {"digest": digest(content), "mediaType": "text/plain"}

    for size, outcome in ((1, None), (4999, None), (5000, content)):
        beside(registry, image, {**told, "size": size})
        if outcome is None:
            with pytest.raises(ImageError, match="more than"):
                process().attached(image, AttachmentKind.SIGNATURE)
        else:
            (found,) = process().attached(image, AttachmentKind.SIGNATURE)
            assert found.content == outcome
    nothing: dict[str, object] = {}
    for rubbish in (nothing, {**told, "size": -1}, {**told, "size": None}):
        beside(registry, image, rubbish)
        assert process().attached(image, AttachmentKind.SIGNATURE) == ()


CONFIGS: list[bytes] = [
    b"",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"config": null}',
    b'{"config": {"Labels": []}}',
    json.dumps({"config": {"Labels": {KEY_LABEL: "k"}}}).encode(),
    json.dumps({"config": {"Labels": {KEY_LABEL: 5, VERSION_LABEL: None}}}).encode(),
    json.dumps({"config": {"Labels": {KEY_LABEL: "k", VERSION_LABEL: "1"}}}).encode(),
    json.dumps({"config": {"Labels": {KEY_LABEL: "k", VERSION_LABEL: "1"}}, "created": 5}).encode(),
]


@pytest.mark.parametrize("content", CONFIGS)
def test_what_is_no_image_at_all_under_a_tag_of_ours_stops_nobody(
    content: bytes, registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    good = add(registry, 1)
    body = json.dumps({"config": registry._descriptor(content), "layers": []}).encode()
    for one in (body, b"{}", b'{"config": null}', b'{"config": {"digest": "../../x"}}'):
        registry.manifests[digest(one)] = one
        for tag in ("theirs", f"key-{'e' * 32}", pin_tag(digest(one), 5)):
            registry.tags[tag] = digest(one)
        assert process().resolve("theirs") is None
        assert process().find("e" * 64) is None
        assert [one.ref.digest for one in process().prune(9, tuple, dry_run=True)] == [good]


def test_documents_that_cannot_be_removed_bring_no_image_back(
    registry: RegistryServer, process: Callable[[], RegistryImages]
) -> None:
    first, second, _ = add(registry, 1), add(registry, 2), add(registry, 3)
    process().attach(first, AttachmentKind.SBOM, [Attachment(b"bill", "text/plain")])
    bill = registry.tags[attachment_tag(first, AttachmentKind.SBOM)]
    usual = registry._manifest

    def guarded(method: str, name: str, content: bytes) -> Answer:
        return Answer(403) if method == "DELETE" and name == bill else usual(method, name, content)

    registry._manifest = guarded  # type: ignore[method-assign]

    decisions = process().prune(1, tuple, dry_run=False)

    assert [one.ref.digest for one in decisions if not one.keep] == [second, first]
    assert not {first, second} & set(registry.manifests)
    assert bill in registry.manifests

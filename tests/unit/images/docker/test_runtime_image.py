"""What packages a release is built on: those that a record vouches for, whatever a tag leads to by now."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.runtime_image import RuntimeImages
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, serving

DOCKERFILE = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS runtime\nFROM runtime AS release\n"
BASE = "python@sha256:" + "b" * 64
PLATFORM = "linux/amd64"


@dataclass
class Builder:
    """An engine whose every build is another image, and the way from there into the registry."""

    registry: RegistryServer
    client: RegistryClient
    repository: str
    built: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)

    def put(self, content: str, *tags: str, platform: str = PLATFORM) -> str:
        system, _, machine = platform.partition("/")
        config = json.dumps({"os": system, "architecture": machine, "of": content}).encode()
        body = {"config": self.registry._descriptor(config), "layers": [self.registry._descriptor(content.encode())]}
        manifest = Manifest.of(json.dumps(body).encode())
        for tag in tags or ("untagged",):
            self.client.put_manifest(tag, manifest)
        return manifest.digest

    def build(self, *_: object, **__: object) -> str:
        self.built.append(f"built {len(self.built)}")
        return self.built[-1]

    def push(self, image: str, tag: str, *_: object) -> str:
        return self.put(image, tag)

    def pull(self, pinned: str, *_: object) -> None:
        self.pulled.append(pinned)


@dataclass
class Scene:
    registry: RegistryServer
    builder: Builder
    lock: Path
    said: list[str] = field(default_factory=list)

    def ensure(self, vouched: str | None, images: RuntimeImages | None = None, platform: str = PLATFORM) -> str:
        its = images or self.images()
        return its.ensure(DOCKERFILE, self.lock, BASE, platform, self.said.append, vouched=vouched)

    def images(self) -> RuntimeImages:
        """Those of another process."""
        return RuntimeImages(self.builder.client, cast(Engine, self.builder), cast(Transfer, self.builder))

    @property
    def tag(self) -> str:
        return next(tag for tag in self.registry.tags if tag.startswith("lock-"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    lock = tmp_path / "serving.txt"
    lock.write_text("idna==3.10\n")
    with serving(RegistryServer()) as registry:
        repository = Repository.parse(f"{registry.host}/acme/banana")
        with closing(RegistryClient(repository, Credentials(), Retries(attempts=1), print)) as client:
            yield Scene(registry, Builder(registry, client, repository.name), lock)


def test_a_tag_that_a_stranger_moved_is_noticed_and_what_is_vouched_for_is_taken_and_named_again(scene: Scene) -> None:
    ours = scene.ensure("")
    scene.builder.put("a miner", scene.tag)

    taken = scene.ensure(ours)

    assert taken == ours
    assert scene.builder.pulled == [ours, ours]
    assert len(scene.builder.built) == 1
    assert any("no record of this pipeline vouches for" in line and "as before" in line for line in scene.said)
    assert ours.endswith(scene.registry.tags[scene.tag])


def test_one_that_waits_under_the_tag_of_a_lock_that_nobody_built_yet_is_not_taken(scene: Scene) -> None:
    scene.ensure("")
    planted = scene.builder.put("a miner", scene.tag)

    taken = scene.ensure("")

    assert not taken.endswith(planted)
    assert len(scene.builder.built) == 2
    assert any("it is built again" in line for line in scene.said)


def test_one_that_is_gone_is_built_again_and_never_taken_from_the_tag(scene: Scene) -> None:
    ours, tag = scene.ensure(""), scene.tag
    scene.builder.client.delete_manifest(ours.rpartition("@")[2])
    planted = scene.builder.put("a miner", tag)

    taken = scene.ensure(ours)

    assert not taken.endswith(planted)
    assert len(scene.builder.built) == 2


def test_one_that_is_vouched_for_on_another_machine_is_none_for_this_platform(scene: Scene) -> None:
    ours = scene.ensure("")

    taken = scene.ensure(ours, platform="linux/arm64")

    assert taken != ours
    assert len(scene.builder.built) == 2


def test_what_this_process_built_needs_nobody_to_vouch_for_it(scene: Scene) -> None:
    images = scene.images()

    assert scene.ensure("", images) == scene.ensure("", images)
    assert len(scene.builder.built) == 1
    assert not any("vouches" in line for line in scene.said)


def test_who_says_nothing_of_whom_he_believes_takes_what_the_tag_leads_to(scene: Scene) -> None:
    assert scene.ensure("") == scene.ensure(None)
    assert len(scene.builder.built) == 1


def test_an_index_for_other_platforms_under_the_tag_keeps_nobody_from_what_is_vouched_for(scene: Scene) -> None:
    ours, tag = scene.ensure(""), scene.tag
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": []}).encode()
    scene.builder.client.put_manifest(tag, Manifest.of(index))

    assert scene.ensure(ours) == ours
    assert scene.ensure("") != ours


def test_a_tag_that_may_not_be_moved_back_stops_nobody(scene: Scene) -> None:
    ours = scene.ensure("")
    scene.builder.put("a miner", scene.tag)
    scene.registry.habit = lambda method, _path, usual: Answer(409, b"immutable") if method == "PUT" else usual

    assert scene.ensure(ours) == ours
    assert any("stays where it leads" in line for line in scene.said)


def test_a_runtime_stays_that_a_release_names_as_it_was_called_before_it_was_moved(scene: Scene) -> None:
    used = scene.ensure("")
    scene.builder.put("newer", "lock-0")  # None has a date, so the first of them counts as the newest.
    moved = f"old.example/banana-runtime@{used.rpartition('@')[2]}"
    older = scene.builder.put("older", "lock-z")

    gone = scene.images().repository.prune(lambda: {moved}, time.time())

    assert gone == [scene.images().repository.pinned(older)]

    assert used.rpartition("@")[2] in scene.registry.manifests


def test_an_index_goes_without_the_image_that_something_that_stays_stands_on(scene: Scene) -> None:
    shared = scene.ensure("").rpartition("@")[2]
    told = {"digest": shared, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": [told]}).encode()
    scene.builder.client.put_manifest("lock-z", Manifest.of(index))

    gone = scene.images().repository.prune(tuple, time.time())

    assert [name.rpartition("@")[2] for name in gone] == [Manifest.of(index).digest]
    assert shared in scene.registry.manifests


def test_what_others_keep_beside_our_packages_is_left_alone_and_takes_no_place_of_theirs(scene: Scene) -> None:
    ours = scene.ensure("").rpartition("@")[2]
    old = scene.builder.put("older", "lock-z", "made-2020-01-01T00-00-00Z")
    theirs = scene.builder.put("theirs", "base", "made")
    signature = scene.builder.put("signed", f"{ours.replace(':', '-')}.sig")
    scene.registry.tags["made-2026-01-01T00-00-00Z"] = ours

    gone = scene.images().repository.prune(tuple, time.time())

    assert [name.rpartition("@")[2] for name in gone] == [old]
    assert {ours, theirs, signature} == set(scene.registry.manifests)


@pytest.mark.parametrize("config", [{}, {"digest": "sha256:" + "0" * 64}, None])
def test_packages_of_which_nobody_can_tell_how_old_they_are_stop_no_removal(config: object, scene: Scene) -> None:
    newest = scene.ensure("").rpartition("@")[2]
    scene.registry.tags["made-2026-01-01T00-00-00Z"] = newest
    strange = Manifest.of(json.dumps({"config": config, "layers": []}).encode())
    scene.registry.manifests[strange.digest] = strange.body
    scene.registry.tags["lock-z"] = strange.digest

    assert [name.rpartition("@")[2] for name in scene.images().repository.prune(tuple, time.time())] == [strange.digest]


def test_packages_that_the_registry_refuses_to_remove_stop_no_other_removal(scene: Scene) -> None:
    scene.registry.tags["made-2026-01-01T00-00-00Z"] = scene.ensure("").rpartition("@")[2]
    held, other = (scene.builder.put(name, f"lock-{name}") for name in ("y", "z"))
    usual = scene.registry._manifest
    scene.registry._manifest = (  # type: ignore[method-assign]
        lambda method, name, content: (
            Answer(409) if (method, name) == ("DELETE", held) else usual(method, name, content)
        )
    )

    assert [name.rpartition("@")[2] for name in scene.images().repository.prune(tuple, time.time())] == [other]


def test_packages_that_others_gave_a_tag_of_theirs_or_name_in_an_index_of_theirs_stay(scene: Scene) -> None:
    scene.registry.tags["made-2026-01-01T00-00-00Z"] = scene.ensure("").rpartition("@")[2]
    tagged = scene.builder.put("tagged", "lock-x", "production")
    named, old = (scene.builder.put(name, f"lock-{name}") for name in ("y", "z"))
    told = {"digest": named, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": [told]}).encode()
    scene.builder.client.put_manifest("both", Manifest.of(index))

    gone = scene.images().repository.prune(tuple, time.time())

    assert [name.rpartition("@")[2] for name in gone] == [old]
    assert {tagged, named} <= set(scene.registry.manifests)

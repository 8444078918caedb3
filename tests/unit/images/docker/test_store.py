"""What becomes of an image that an engine gives the same digest as one that retention is removing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from banana_delivery import bundle
from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.pins import deletion_tag, leases_of, pinned_at
from banana_delivery.images.oci_registry.remote import key_tag
from banana_delivery.names import KEY_LABEL, KEY_TAG_PREFIX, LEASE_TAG_PREFIX, VERSION_LABEL
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Clock, Sources, quiet
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, serving

BASE = "python@sha256:" + "b" * 64


@dataclass
class Builder:
    """An engine whose cache gives each image again, digest and all, unless it may not use it.

    Attributes:
        registry: that it pushes to.
        labels: of what it builds.
        forgets: whether it builds another image without its cache, as engines do that note the time.
    """

    registry: RegistryServer
    labels: dict[str, str] = field(default_factory=dict)
    forgets: bool = True
    platform: str = "linux/amd64"
    built: int = 0

    def build(self, *_: object, what: str, no_cache: bool = False, **__: object) -> str:
        self.built += no_cache and self.forgets
        return f"{what} {self.built}"

    def push(self, name: str, *_: object) -> str:
        path, tag = name.partition("/")[2].rsplit(":", 1)
        repository = self.registry.repository_of(f"/v2/{path}/")
        made = {
            "config": {"Labels": self.labels},
            "created": f"2026-01-01T00:00:0{self.built}Z",
            "rootfs": {"diff_ids": []},
        }
        os, architecture = self.platform.split("/")
        config = json.dumps({**made, "os": os, "architecture": architecture}).encode()
        manifest = Manifest.of(json.dumps({"config": repository._descriptor(config), "layers": []}).encode())
        repository.manifests[manifest.digest] = manifest.body
        repository.tags[tag] = manifest.digest
        return manifest.digest

    def tag(self, *_: object) -> None:
        """It has but one image at a time."""

    pull = remove = tag


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with serving(RegistryServer(others=[RegistryServer(path="acme/banana-runtime")])) as registry:
        yield registry


@pytest.fixture
def context(tmp_path: Path) -> BuildContext:
    return replace(Sources(tmp_path / "sources").context("7"), anew=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(registry: RegistryServer) -> Builder:
    return Builder(registry)


@contextmanager
def store_at(
    registry: RegistryServer, engine: Builder, context: BuildContext, clock: Clock | None
) -> Iterator[DockerImages]:
    store = DockerImages(
        f"{registry.host}/acme/banana",
        engine=cast(Engine, engine),
        dockerfile=bundle.DOCKERFILE,
        base_image=BASE,
        retries=Retries(attempts=1),
        clock=clock,
    )
    with closing(store):
        engine.labels = {KEY_LABEL: store.key(context).sha256, VERSION_LABEL: "7"}
        yield store


@pytest.fixture
def store(registry: RegistryServer, engine: Builder, context: BuildContext, clock: Clock) -> Iterator[DockerImages]:
    with store_at(registry, engine, context, clock) as store:
        yield store


def removed(registry: RegistryServer, digest: str) -> None:
    registry.manifests.pop(digest, None)
    registry.tags = {tag: its for tag, its in registry.tags.items() if its != digest}


@pytest.mark.parametrize("owner", ["deletes a moment later", "is dead"])
def test_an_image_that_retention_may_delete_at_any_moment_is_built_without_the_cache(
    owner: str, registry: RegistryServer, store: DockerImages, context: BuildContext, clock: Clock
) -> None:
    first = store.build(context, quiet).ref
    registry.tags[deletion_tag(first.digest, clock())] = "sha256:" + "d" * 64

    second = store.build(context, quiet).ref
    if owner != "is dead":
        removed(registry, first.digest)

    assert second.digest != first.digest
    assert store.find(store.key(context)) == second
    assert leases_of(registry.tags, second.digest)


def test_an_image_that_was_removed_before_it_was_leased_has_lease_and_name_in_the_end(
    registry: RegistryServer, store: DockerImages, context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.build(context, quiet).ref
    name, losses = key_tag(store.key(context).sha256), list[str]()

    def before(method: str, path: str) -> None:
        if path.startswith(f"manifests/{LEASE_TAG_PREFIX}") and method == "PUT" and not losses:
            losses.append(path)
            removed(registry, first.digest)

    usual = registry._manifest

    def answer(method: str, tag: str, content: bytes) -> Answer:
        before(method, f"manifests/{tag}")
        return usual(method, tag, content)

    monkeypatch.setattr(registry, "_manifest", answer)

    again = store.build(context, quiet).ref

    assert losses
    assert registry.tags[name] == again.digest
    assert leases_of(registry.tags, again.digest)


def test_an_image_that_was_removed_right_after_it_was_pushed_is_pushed_again(
    registry: RegistryServer, store: DockerImages, context: BuildContext
) -> None:
    losses: list[str] = []

    def at_once(method: str, path: str, usual: Answer) -> Answer:
        if method == "GET" and path.startswith("manifests/sha256:") and not losses:
            losses.append(path.partition("/")[2])
            removed(registry, losses[0])
            return Answer(404)
        return usual

    registry.habit = at_once

    built = store.build(context, quiet).ref

    assert losses
    assert store.find(store.key(context)) == built


def test_an_engine_that_gives_the_same_digest_without_its_cache_too_hands_nothing_out(
    registry: RegistryServer, engine: Builder, store: DockerImages, context: BuildContext, clock: Clock
) -> None:
    engine.forgets = False
    first = store.build(context, quiet).ref
    registry.tags[deletion_tag(first.digest, clock())] = "sha256:" + "d" * 64

    with pytest.raises(ImageError, match=r"Retention removes sha256:\w+ of .*materialize `image` again"):
        store.build(context, quiet)

    assert any(tag.startswith(KEY_TAG_PREFIX) for tag in registry.tags), "who asks by the key is told that it is doomed"
    assert store.find(store.key(context)) is None


def test_leases_are_as_old_as_the_registry_s_clock_says(
    registry: RegistryServer, engine: Builder, context: BuildContext
) -> None:
    date = {"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}
    registry.habit = lambda _method, _path, usual: replace(usual, headers={**usual.headers, **date})

    with store_at(registry, engine, context, clock=None) as store:
        store.build(context, quiet)

    assert pinned_at(registry.tags) == pytest.approx(1_700_000_000, abs=60)

"""The image store's contract over the stores that need nothing but this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.images.base import ImageStore
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.oci_layout.store import OciLayoutImages
from tests.contract.image_store_contract import Clock, ImageStoreContract, Sources
from tests.support.runtime_image import BOTH, DOCKERFILE, PLATFORM, put_base, put_runtime, put_runtimes
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving


class TestFakeImages(ImageStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> ImageStore:
        return FakeImages(clock=clock)


class TestOciLayoutImages(ImageStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> ImageStore:
        return OciLayoutImages(tmp_path / "images", clock=clock)


class TestDirectImages(ImageStoreContract):
    """Over HTTP; ``tests/docker`` asks the same of a real registry."""

    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock, sources: Sources) -> Iterator[ImageStore]:
        with serving(RegistryServer()) as registry:
            (tmp_path / "lock.txt").write_text(sources.lock)
            put_runtime(registry, tmp_path / "lock.txt", put_base(registry))
            store = DirectImages(
                f"{registry.host}/acme/banana",
                dockerfile=DOCKERFILE,
                base_image=f"{registry.host}/library/python:3.11",
                platform=PLATFORM,
                clock=clock,
            )
            with closing(store):
                yield store


class TestDirectImagesForTwoPlatforms(ImageStoreContract):
    """The release is an index; what holds for an image holds for it."""

    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock, sources: Sources) -> Iterator[ImageStore]:
        with serving(RegistryServer()) as registry:
            (tmp_path / "lock.txt").write_text(sources.lock)
            put_runtimes(registry, tmp_path / "lock.txt", put_base(registry), BOTH)
            store = DirectImages(
                f"{registry.host}/acme/banana",
                dockerfile=DOCKERFILE,
                base_image=f"{registry.host}/library/python:3.11",
                platform=PLATFORM,
                platforms=BOTH,
                clock=clock,
            )
            with closing(store):
                yield store
                assert_no_part_is_missing(registry)


def assert_no_part_is_missing(registry: RegistryServer) -> None:
    """Whatever was built and removed: an index that is there has its images, and an image without one goes."""
    named = {
        image["digest"]
        for body in registry.manifests.values()
        if isinstance(document := json.loads(body), dict)
        for image in document.get("manifests", ())
    }
    assert named <= registry.manifests.keys()

"""The image store's contract over the stores that need nothing but this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.images.base import ImageStore
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.oci_layout.store import OciLayoutImages
from tests.contract.image_store_contract import Clock, ImageStoreContract, Sources
from tests.support.runtime_image import DOCKERFILE, PLATFORM, put_base, put_runtime
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

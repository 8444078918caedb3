"""The image store's contract over the stores that need nothing but this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.images.base import ImageStore
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.oci_layout.store import OciLayoutImages
from tests.contract.image_store_contract import Clock, ImageStoreContract


class TestFakeImages(ImageStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> ImageStore:
        return FakeImages(clock=clock)


class TestOciLayoutImages(ImageStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> ImageStore:
        return OciLayoutImages(tmp_path / "images", clock=clock)

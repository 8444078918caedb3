"""The image store's contract over a real engine and registry."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.images.base import ImageStore
from banana_delivery.images.docker.store import DockerImages
from tests.contract.image_store_contract import Clock, ImageStoreContract, Sources


class TestDockerImages(ImageStoreContract):
    @pytest.fixture
    def sources(self, tmp_path: Path, small_lock: str) -> Sources:
        return Sources(tmp_path / "sources", small_lock, salt=uuid.uuid4().hex)

    @pytest.fixture
    def store(self, make_store: Callable[..., DockerImages], clock: Clock) -> ImageStore:
        return make_store(clock=clock)

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from banana_delivery.evaluation.labelled_images import LabelledImage
from tests.unit.evaluation.leaf_service import IMAGE_SIZE, LeafService, running


@pytest.fixture
def service() -> Iterator[LeafService]:
    with running() as leaf_service:
        yield leaf_service


@pytest.fixture(scope="session")
def leaves() -> list[LabelledImage]:
    """Twenty small green pictures, each with one labelled streak."""
    return [_leaf(f"leaf-{index}.jpg", shade=60 + 8 * index) for index in range(20)]


def _leaf(name: str, shade: int) -> LabelledImage:
    encoded = io.BytesIO()
    Image.new("RGB", IMAGE_SIZE, (20, shade, 30)).save(encoded, "JPEG")
    return LabelledImage(
        name=name,
        jpeg=encoded.getvalue(),
        width=IMAGE_SIZE[0],
        height=IMAGE_SIZE[1],
        boxes=np.array([[8.0, 8.0, 40.0, 24.0]]),
        classes=np.array([0]),
        class_names=("streak", "spot"),
    )

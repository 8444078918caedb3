"""What an image of somebody else's making looks like to the store in a registry."""

from __future__ import annotations

import pytest

from banana_delivery.images.docker.store import _named
from banana_delivery.images.release import LAYERS, Contents, compare
from banana_delivery.policy.model import ImageRef

REF = ImageRef(repository="registry.test/banana", digest="sha256:" + "a" * 64, version="7", key="k")
OURS = ["sha256:runtime", "sha256:code", "sha256:model", "sha256:version"]


@pytest.mark.parametrize("diff_ids", [[], ["sha256:one"], OURS[:2], OURS[1:], [*OURS, "sha256:more"]])
def test_an_image_of_other_layers_than_ours_is_compared_like_any_other_and_differs(diff_ids: list[str]) -> None:
    theirs, ours = Contents(_named(diff_ids), {}), Contents(_named(OURS), {})

    assert not compare(REF, theirs, ours).proven


def test_layers_are_named_from_the_top() -> None:
    assert list(_named(OURS)) == ["runtime 1", *LAYERS]

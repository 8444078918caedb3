"""What an image of somebody else's making looks like to the store in a registry."""

from __future__ import annotations

import pytest

from banana_delivery.images.oci_registry.remote import layer_names
from banana_delivery.images.release import LAYERS, Contents, compare
from banana_delivery.policy.model import ImageRef

REF = ImageRef(repository="registry.test/banana", digest="sha256:" + "a" * 64, version="7", key="k")
OURS = ["sha256:runtime", "sha256:code", "sha256:model", "sha256:version"]


@pytest.mark.parametrize("diff_ids", [[], ["sha256:one"], OURS[:2], OURS[1:], [*OURS, "sha256:more"]])
def test_an_image_of_other_layers_than_ours_is_compared_like_any_other_and_differs(diff_ids: list[str]) -> None:
    theirs, ours = Contents(layer_names(diff_ids), {}), Contents(layer_names(OURS), {})

    assert not compare(REF, theirs, ours).proven


def test_layers_are_named_from_the_top() -> None:
    assert list(layer_names(OURS)) == ["runtime 1", *LAYERS]


def test_an_image_that_differs_in_its_packages_alone_is_told_from_one_that_differs_in_what_lies_on_them() -> None:
    def contents(*diff_ids: str, runtime: str = "ours", version: str = "7") -> Contents:
        return Contents(
            layer_names(list(diff_ids)), {"banana.runtime": runtime, "banana.version": version}, {"User": "1"}
        )

    ours = contents(*OURS)
    other_packages = contents("sha256:stranger", *OURS[1:], runtime="theirs")

    assert compare(REF, other_packages, ours).only_below
    assert compare(REF, contents("sha256:more", *OURS), ours).only_below
    assert not compare(REF, ours, ours).only_below
    assert not compare(REF, contents(*OURS[:3], "sha256:miner", runtime="theirs"), ours).only_below
    assert not compare(REF, contents("sha256:stranger", *OURS[1:], version="8"), ours).only_below
    assert not compare(REF, Contents(other_packages.layers, other_packages.labels, {"User": "0"}), ours).only_below

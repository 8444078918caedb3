"""What is known of the packages and the base that an image is to stand on."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from banana_delivery.delivery.signing.foundations import moved_base, vouched_runtime
from banana_delivery.errors import ImageError, UnreachableError
from banana_delivery.images.base import ImageKey, ImageStore
from banana_delivery.names import BASE_LABEL, LOCK_SHA256_LABEL, RUNTIME_LABEL
from banana_delivery.policy.model import ImageRef
from banana_delivery.runs.audit_log import AuditLog

THEN, NOW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
DOCKERFILE = "with " + "d" * 64
RUNTIME = "registry.test/banana-runtime@sha256:" + "e" * 64


def key(*, lock: str = "lock", base: str = f"python@{THEN} {DOCKERFILE}") -> ImageKey:
    return ImageKey(model="m", version_file="v", code="c", lock=lock, base=base, platform="linux/amd64")


class Past:
    """Our records and what their images say of themselves; None: that image is gone."""

    def __init__(self, *labels: dict[str, str] | None) -> None:
        refs = [
            ImageRef(repository="registry.test/banana", digest=f"sha256:{number:064x}", version="7", key="k")
            for number in range(len(labels))
        ]
        self.records = [SimpleNamespace(ref=ref, self_test_passed=True) for ref in refs]
        self.asked = 0
        self.away = False
        self._labels = dict(zip((ref.digest for ref in refs), labels, strict=True))

    def each_image(self) -> Iterator[SimpleNamespace]:
        return iter(self.records)

    def labels(self, ref: ImageRef) -> dict[str, str]:
        self.asked += 1
        if self.away:
            raise UnreachableError("Nobody answers.")
        found = self._labels[ref.digest]
        if found is None:
            raise ImageError("It is gone.")
        return found

    def vouched(self, wanted: ImageKey) -> str:
        return vouched_runtime(cast(AuditLog, self), cast(ImageStore, self), wanted)

    def moved(self, wanted: ImageKey, base_image: str = "python:3.11-slim") -> str:
        return moved_base(cast(AuditLog, self), cast(ImageStore, self), wanted, base_image)


def image(lock: str = "lock", base: str = key().base, runtime: str = RUNTIME) -> dict[str, str]:
    return {LOCK_SHA256_LABEL: lock, BASE_LABEL: base, RUNTIME_LABEL: runtime}


def test_the_packages_of_our_latest_image_of_the_same_lock_and_base_are_vouched_for() -> None:
    other = image(lock="another", runtime="registry.test/banana-runtime@sha256:" + "f" * 64)

    assert Past(other, None, image(), image(runtime="older")).vouched(key()) == RUNTIME


def test_nobody_vouches_for_packages_of_another_lock_or_base_or_of_images_that_bring_none() -> None:
    of_a_host = {LOCK_SHA256_LABEL: "lock", BASE_LABEL: key().base}

    assert Past().vouched(key()) == ""
    assert Past(image(lock="another"), image(base=f"python@{NOW} {DOCKERFILE}"), of_a_host).vouched(key()) == ""


def test_a_base_whose_tag_leads_elsewhere_than_for_the_image_before_is_named_with_the_digest_that_was_known() -> None:
    said = Past(None, image()).moved(key(base=f"python@{NOW} {DOCKERFILE}"))

    assert said.startswith(f"python:3.11-slim has moved since the last image: it was {THEN} and is {NOW}.")
    assert said.endswith(f"BANANA_BASE_IMAGE=python@{THEN}")


def test_nothing_is_said_of_a_base_that_stayed_or_was_chosen_by_digest_or_is_another_or_a_host() -> None:
    past, moved = Past(image()), key(base=f"python@{NOW} {DOCKERFILE}")

    assert past.moved(key()) == ""
    assert past.moved(key(base=key().base.replace("d" * 64, "c" * 64))) == ""
    assert past.moved(moved, base_image=f"python@{NOW}") == ""
    assert past.moved(key(base=f"debian@{NOW} {DOCKERFILE}"), base_image="debian:13") == ""
    assert past.moved(key(base="host:python-3.11")) == ""
    assert Past().moved(moved) == ""
    assert Past(image(base="host:python-3.11")).moved(moved) == ""


def test_an_image_whose_self_test_failed_vouches_for_no_packages_which_may_be_at_fault() -> None:
    past = Past(image(runtime="broken"), image())
    past.records[0].self_test_passed = False

    assert past.vouched(key()) == RUNTIME
    past.records[1].self_test_passed = False
    assert past.vouched(key()) == ""


def test_a_registry_that_is_away_is_not_asked_for_one_image_after_the_other() -> None:
    past = Past(*[image()] * 9)
    past.away = True

    with pytest.raises(UnreachableError):
        past.vouched(key())
    assert past.moved(key(base=f"python@{NOW} {DOCKERFILE}")) == ""
    assert past.asked == 2

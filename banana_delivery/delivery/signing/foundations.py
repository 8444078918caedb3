"""What images are built on: the packages that our own records vouch for, and a base whose tag has moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from banana_delivery.errors import ImageError, UnreachableError
from banana_delivery.images.base import ImageKey, ImageStore
from banana_delivery.names import BASE_LABEL, LOCK_SHA256_LABEL, RUNTIME_LABEL
from banana_delivery.runs.audit_log import AuditLog

LOOKED_AT = 20
"""How many images, the latest first, are asked what they stand on; an older one costs a build of the packages."""


def vouched_runtime(audit_log: AuditLog, store: ImageStore, key: ImageKey) -> str:
    """The image of packages that our latest image of the same lock and base stands on, pinned; empty if there is none.

    The record is signed and names that image by its digest, so nobody who may push can have put anything else below it.
    One whose self-test failed vouches for nothing: it may be the packages' fault, and then others have to come.

    Raises:
        UnreachableError: if nobody can say, and to build the packages again would cost minutes and help nobody.
    """
    for labels in _labels(audit_log, store, passed=True):
        same = (labels.get(LOCK_SHA256_LABEL), labels.get(BASE_LABEL)) == (key.lock, key.base)
        if same and RUNTIME_LABEL in labels:
            return labels[RUNTIME_LABEL]
    return ""


def moved_base(audit_log: AuditLog, store: ImageStore, key: ImageKey, base_image: str) -> str:
    """One sentence if the tag of the base leads elsewhere than it did for our latest image; empty if it does not.

    A publisher moves it with each repair, and so might a stranger: only people can tell one from the other.

    Args:
        audit_log: knows our images.
        store: knows what they stand on.
        key: the identity of what is built now.
        base_image: as the settings name it; by digest it is what somebody chose.
    """
    name, _, now = _base(key.base)
    if not now or "@" in base_image:
        return ""
    try:
        before = next((labels[BASE_LABEL] for labels in _labels(audit_log, store) if BASE_LABEL in labels), "")
    except UnreachableError:
        return ""  # It is only said; whatever needs the registry next says that it is away.
    its_name, _, then = _base(before)
    if its_name != name or not then or then == now:
        return ""
    return (
        f"{base_image} has moved since the last image: it was {then} and is {now}. That is how repairs arrive, and how "
        f"a stranger's image would; to build on what was known, set BANANA_BASE_IMAGE={name}@{then}"
    )


def _base(label: str) -> tuple[str, str, str]:
    """Name, at sign and digest of a base, as an image's identity has them."""
    return label.partition(" ")[0].partition("@")


def _labels(audit_log: AuditLog, store: ImageStore, *, passed: bool = False) -> Iterator[dict[str, str]]:
    """Of our latest images, as far as they are still there; ``passed``: of those alone whose self-test did.

    Raises:
        UnreachableError: if the store does not answer, which is not asked of one image after the other.
    """
    for record in islice(audit_log.each_image(), LOOKED_AT):
        if passed and not record.self_test_passed:
            continue
        try:
            yield store.labels(record.ref)
        except UnreachableError:
            raise
        except ImageError:
            continue

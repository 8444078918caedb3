"""Names of image tags."""

from __future__ import annotations

import re
from collections.abc import Iterable

from banana_delivery.images.base import ImageError

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def checked_tags(tags: Iterable[str]) -> frozenset[str]:
    """The tags, each proven to be one that registries accept.

    Raises:
        ImageError: names the first that is not.
    """
    wanted = frozenset(tags)
    for tag in sorted(wanted):
        if not _TAG.fullmatch(tag):
            raise ImageError(
                f"{tag!r} cannot be an image tag; use letters, digits, '.', '_' and '-', at most 128 of them."
            )
    return wanted


def release_tags(version: str, revision: str) -> frozenset[str]:
    """The tags of a new image: its version, ``latest`` and ``sha-<git revision>``; ``stable`` follows with success.

    Args:
        version: MLflow model version.
        revision: git revision of the code; empty if it is not known.
    """
    return frozenset({version, "latest"} | ({f"sha-{revision[:12]}"} if revision else set()))

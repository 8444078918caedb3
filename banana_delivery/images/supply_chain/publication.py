"""What is put beside an image that is there, or upon it, once it is known: names, documents, signatures."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from banana_delivery.policy.model import ImageRef, Model


class Publication(Model):
    """What is put beside an image that is there, or upon it.

    Attributes:
        ref: the image.
        tags: that are to point at it.
        bill: its bill of materials, as JSON; empty: none.
        said: statements about it, by the type of each.
        sign: whether to sign it, unless our key did; the statements are then made only with the signature.
    """

    ref: ImageRef
    tags: tuple[str, ...] = ()
    bill: str = ""
    said: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sign: bool = False


class Published(Model):
    """What came of a publication.

    Attributes:
        signed_by: the key that signs, by the name that people call it; empty: none does.
        bill_trouble: why the bill of materials does not lie there; empty if it does, or there was none.
    """

    signed_by: str = ""
    bill_trouble: str = ""

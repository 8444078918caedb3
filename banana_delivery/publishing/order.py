"""What a delivery orders of the pod that writes into the registry, and what it gets back: JSON in a folder of both.

Neither believes the other. The pod does what a delivery may want and nothing else: an order names no files, no media
types and no tags of the registry's bookkeeping. The delivery looks at what was written before it releases it.
"""

from __future__ import annotations

from pydantic import Field

from banana_delivery.images.supply_chain.publication import Publication, Published
from banana_delivery.policy.model import Model

ORDER_FILE, ANSWER_FILE, LOG_FILE = "order.json", "answer.json", "output.log"
MODEL_FILES = ("model.onnx", "version.json")
"""What lies beside the order of an image."""
FOLDER_PREFIX = "tmp-publishing-"
"""Of the folder of an order. The admission policy knows it too; what begins with tmp is tidied up where it is left."""
AT = "/order"
"""Where the pod sees that folder."""


DIGEST_OR_NOTHING = r"^(sha256:[0-9a-f]{64})?$"
"""It becomes a part of an address."""


class BuildOrder(Model):
    """A release image, of the model and version file that lie beside the order.

    Attributes:
        version: the MLflow model version.
        labels: what the delivery says of it.
        vouched: the image of packages to build on, pinned; empty: nobody vouches for any; None: whatever its tag leads
            to.
    """

    version: str
    labels: dict[str, str]
    vouched: str | None = Field(default=None, pattern=r"^([^@\s]+@sha256:[0-9a-f]{64})?$")


class PruneOrder(Model):
    """Old images are to go.

    Attributes:
        keep_versions: how many of the newest stay.
        in_use: digests that stay, whatever their age.
    """

    keep_versions: int = Field(ge=1)
    in_use: tuple[str, ...]


class Order(Model):
    """One thing to do.

    Attributes:
        build: an image to write.
        lend: digest of an image that may not be removed for a while; empty: none.
        publish: what to put beside an image.
        prune: what to forget.
    """

    build: BuildOrder | None = None
    lend: str = Field(default="", pattern=DIGEST_OR_NOTHING)
    publish: Publication | None = None
    prune: PruneOrder | None = None


class Done(Model):
    """What came of it. It is a stranger's word: what can be seen in the registry is looked at there.

    Attributes:
        digest: of what was built or lent; empty: of nothing.
        sent: names of the layers that had to be sent.
        published: what came of a publication.
        removed: digests of images that are gone.
        said: lines about each step.
    """

    digest: str = Field(default="", pattern=DIGEST_OR_NOTHING)
    sent: tuple[str, ...] = ()
    published: Published | None = None
    removed: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

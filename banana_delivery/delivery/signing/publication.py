"""Putting names, documents and signatures upon an image, by whoever may write where it lies."""

from __future__ import annotations

import json

from banana_delivery.delivery.signing.images import ImageSigner
from banana_delivery.delivery.signing.statements import SBOM
from banana_delivery.errors import ImageError
from banana_delivery.images.base import ImageStore
from banana_delivery.images.supply_chain.attachments import SBOM_TYPE, Attachment, AttachmentKind
from banana_delivery.images.supply_chain.publication import Publication, Published
from banana_delivery.settings import Settings


def publish(store: ImageStore, settings: Settings, publication: Publication) -> Published:
    """Do it, or have it done where another process has the login and the key.

    A bill of materials that cannot be kept stops nothing: it is told of, and is not signed.

    Raises:
        ImageError: if a tag, a statement or a signature cannot be kept.
        BadSettingsError: if the key that signs cannot be used.
    """
    return store.publish_elsewhere(publication) or _here(store, ImageSigner(store, settings), publication)


def _here(store: ImageStore, signer: ImageSigner, publication: Publication) -> Published:
    ref, said, trouble = publication.ref, dict(publication.said), ""
    if publication.tags:
        store.tag(ref, publication.tags)
    if publication.bill:
        bill = json.loads(publication.bill)
        try:
            store.attach(ref, AttachmentKind.SBOM, [Attachment(publication.bill.encode(), SBOM_TYPE)])
            said[SBOM] = bill
        except ImageError as error:
            trouble = str(error)
    if not publication.sign:
        signer.say(ref, said)
    elif not signer.has_signed(ref):
        signer.say(ref, said)
        signer.sign(ref)  # Last: what is signed is complete.
    return Published(signed_by=signer.name, bill_trouble=trouble)

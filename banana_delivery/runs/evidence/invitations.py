"""Links in messages that lead to one parked attempt on the page of deliveries.

A link is signed by the page's key and decides nothing: whoever opens it sees what waits, and still has to log in, to be
one who may, and to give a reason. What fetches it, a scanner of mail or a preview in a chat, changes nothing.
"""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

from pydantic import ValidationError

from banana_delivery.errors import EvidenceError, RefusedError
from banana_delivery.policy.approvals.going_on import awaits_approval
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Model
from banana_delivery.runs.code_location import ROLLOUT_LOG, CodeLocation
from banana_delivery.runs.evidence.signing import Origin, canonical, doubt_about, sign
from banana_delivery.settings import Settings

LOG = logging.getLogger(__name__)
PARAMETER = "asks"
"""Of the page's address."""
MOST_CHARACTERS = 2000
"""Of an invitation in an address; ours have some 500."""


class Invitation(Model):
    """To decide about one attempt that waits.

    Attributes:
        environment: which the version is to be let into.
        version: MLflow model version.
        digest: its image.
        run_id: the attempt's run.
        at: when the attempt ended, seconds since the epoch.
    """

    environment: Environment = Environment.PRODUCTION
    version: str
    digest: str
    run_id: str
    at: float

    @classmethod
    def about(cls, attempt: AttemptRecord) -> Invitation:
        """The one to an attempt."""
        return cls(version=attempt.version, digest=attempt.digest, run_id=attempt.run_id, at=attempt.at)


def inviting(settings: Settings) -> Callable[[AttemptRecord], str] | None:
    """What gives the address under which people decide about an attempt; None where nobody decides on the page.

    It is empty of an attempt that does not wait, and where there is no key: then people are told what to type.
    """
    if not settings.pages_url or not settings.pages_deciders:
        return None
    location = CodeLocation.of(settings)

    def address(attempt: AttemptRecord) -> str:
        if not awaits_approval(attempt):
            return ""
        try:
            return f"{settings.pages_url}/delivery?{PARAMETER}={written(Invitation.about(attempt), location)}"
        except EvidenceError as error:
            LOG.warning("People are told of version %s without a link to decide: %s", attempt.version, error)
            return ""

    return address


def written(invitation: Invitation, location: CodeLocation) -> str:
    """An invitation as part of an address.

    Raises:
        EvidenceError: if there is no key to sign it with.
    """
    told = invitation.model_dump(mode="json")
    signed = {"to": told, "signature": sign(told, _origin(invitation, location), location.asking)}
    return urlsafe_b64encode(canonical(signed)).decode().rstrip("=")


def read(text: str, location: CodeLocation) -> Invitation:
    """An invitation of ours.

    Raises:
        RefusedError: if it is none.
    """
    try:
        # What is longer is cut, and is no JSON any more.
        cut = text[:MOST_CHARACTERS]
        signed = json.loads(urlsafe_b64decode(cut + "=" * (-len(cut) % 4)))
        told, signature = signed["to"], signed["signature"]
        invitation = Invitation.model_validate(told)
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise RefusedError(400, "This link is not whole; open it as it was sent, or look what waits here.") from error
    if doubt := doubt_about(told, _origin(invitation, location), signature, location.asking):
        LOG.warning("A link to version %a is not believed: %s", invitation.version, doubt)
        raise RefusedError(403, "This link was not sent by this pipeline, or its key is gone; look what waits here.")
    return invitation


def _origin(invitation: Invitation, location: CodeLocation) -> Origin:
    asset = location.key(ROLLOUT_LOG).to_user_string()
    return Origin(f"{Invitation.__name__} of {location.model}", asset, invitation.version, invitation.run_id)

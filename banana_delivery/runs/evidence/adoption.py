"""Records that bear no signature and are believed all the same, because a person looked at them and said so.

Earlier versions signed nothing. What was adopted is a list of events with the digest of each, signed and kept in the
Dagster instance, so that every machine that shares the instance and the key knows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from banana_delivery.errors import EvidenceError
from banana_delivery.files import bytes_sha256
from banana_delivery.names import DOMAIN
from banana_delivery.runs.evidence.keys import EvidenceKeys
from banana_delivery.runs.evidence.signing import Origin, canonical, doubt_about, sign

_KIND = "AdoptedRecords"


@dataclass(frozen=True)
class Unsigned:
    """A record without a signature.

    Attributes:
        event: its place in Dagster's log.
        asset: key of the asset, with its prefix.
        version: MLflow model version.
        run_id: the run whose event it is; empty for an event of no run.
        says: what it says, in a few words for a person.
        digest: of the record and of where it stands.
    """

    event: int
    asset: str
    version: str
    run_id: str
    says: str
    digest: str


def digest_of(record: object, *, event: int, asset: str, version: str, run_id: str) -> str:
    """Sha256 hex over a record and the place where it stands."""
    return bytes_sha256(canonical([event, asset, version, run_id, record]))


@dataclass(frozen=True)
class AdoptedRecords:
    """The list of one pipeline in a Dagster instance.

    Attributes:
        instance: where it is kept.
        prefix: of the pipeline's asset keys, which tells two pipelines in one instance apart.
        keys: with which it is signed.
    """

    instance: dg.DagsterInstance
    prefix: str
    keys: EvidenceKeys

    def digests(self) -> Mapping[int, str]:
        """The digest of each adopted record, by its event; nothing if the list is not ours."""
        stored = self.instance.daemon_cursor_storage.get_cursor_values({self._name}).get(self._name)
        if not stored:
            return {}
        try:
            kept = json.loads(stored)
            events, signature = kept["events"], kept["signature"]
            if doubt_about(events, self._origin, signature, self.keys):
                return {}
            return {int(event): str(digest) for event, digest in events.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def add(self, found: list[Unsigned]) -> None:
        """Adopt some records beside those that were adopted before.

        Raises:
            EvidenceError: if there is no key to sign with, or an earlier list is signed with another one.
        """
        known = self.digests()
        if not known and self.instance.daemon_cursor_storage.get_cursor_values({self._name}).get(self._name):
            raise EvidenceError(
                "Records were adopted with a key that is not here; put that key into the file of keys below the new "
                "one, or what was adopted would be lost."
            )
        events = {str(event): digest for event, digest in known.items()}
        events |= {str(one.event): one.digest for one in found}
        signature = sign(events, self._origin, self.keys)
        kept = json.dumps({"events": events, "signature": signature})
        self.instance.daemon_cursor_storage.set_cursor_values({self._name: kept})

    @property
    def _name(self) -> str:
        return "/".join(filter(None, [DOMAIN, self.prefix, "adopted-records"]))

    @property
    def _origin(self) -> Origin:
        return Origin(_KIND, self._name, "")

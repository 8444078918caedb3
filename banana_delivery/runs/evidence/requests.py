"""What people ask for on the page of deliveries, on its way to whoever may sign: one process writes, another reads.

The page signs with a key of its own, which is worth these requests and nothing else. What became of each stands on a
board of which the reader alone is the author, with a beat that changes while he is there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import dagster as dg
from pydantic import ValidationError

from banana_delivery.errors import redacted
from banana_delivery.names import DOMAIN
from banana_delivery.policy.holds import PageAnswer, PageRequest
from banana_delivery.policy.model import Model
from banana_delivery.quoting import in_markdown
from banana_delivery.runs.code_location import REQUESTS, CodeLocation
from banana_delivery.runs.evidence.reading import RecordReader
from banana_delivery.runs.evidence.signing import Origin, doubt_about, sign
from banana_delivery.runs.records import signed_metadata

LATEST = 20
"""So many are looked at; more within the seconds for which one counts would be no person's."""


class Board(Model):
    """What the reader of the requests lets everybody know.

    Attributes:
        beat: another one at each tick; empty if there never was a reader.
        answers: what became of the latest requests, by their ids.
    """

    beat: str = ""
    answers: Mapping[str, PageAnswer] = {}


@dataclass(frozen=True)
class Requests:
    """The requests of one pipeline's page.

    Attributes:
        instance: where they are kept.
        location: what of that is ours, and the page's keys.
    """

    instance: dg.DagsterInstance
    location: CodeLocation
    _reader: RecordReader = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read with the page's keys, by which nothing else is signed."""
        reader = RecordReader(self.instance, replace(self.location, evidence=self.location.asking))
        object.__setattr__(self, "_reader", reader)

    def ask(self, request: PageRequest) -> None:
        """Add a request.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        key = self.location.key(REQUESTS)
        origin = Origin(type(request).__name__, key.to_user_string(), "", after=self.newest())
        self.instance.report_runless_asset_event(
            dg.AssetObservation(
                asset_key=key,
                description=in_markdown(redacted(f"{request.act}, {request.by}: {request.reason}")),
                metadata=signed_metadata(request, origin, self.location.asking),
            )
        )

    def token(self, person: str) -> str:
        """For one request of a person, by which any process that serves this page knows that it showed it to him.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        nonce = secrets.token_hex(16)
        signature = sign(person, self._token(nonce), self.location.asking)
        return f"{nonce}.{signature['key']}.{signature['hmac']}"

    def id_of(self, token: str, person: str) -> str:
        """The id of the request that a token is for, whoever takes it; empty if it is not this person's."""
        nonce, _, signature = token.partition(".")
        key, _, code = signature.partition(".")
        doubt = doubt_about(person, self._token(nonce), {"key": key, "hmac": code}, self.location.asking)
        return "" if doubt else nonce

    def _token(self, nonce: str) -> Origin:
        return Origin("token", self.location.key(REQUESTS).to_user_string(), "", nonce)

    def newest(self) -> int:
        """The place of the last one in Dagster's log, whoever wrote it; 0 if there is none."""
        return self._reader.newest(REQUESTS, "", observed=True)

    def latest(self) -> list[PageRequest]:
        """The latest ones that the page signed and nobody repeats, oldest first."""
        lines = self._reader.lines(PageRequest, REQUESTS, None, observed=True, latest=LATEST, readable=True)
        return [line.record for line in lines if line.record and not line.doubt][::-1]

    def board(self) -> Board:
        """What the reader says; what is none of his counts as nothing."""
        stored = self.instance.daemon_cursor_storage.get_cursor_values({self._board}).get(self._board)
        try:
            return Board.model_validate_json(stored) if stored else Board()
        except ValidationError:
            return Board()

    def post(self, board: Board) -> None:
        """Say something else."""
        self.instance.daemon_cursor_storage.set_cursor_values({self._board: board.model_dump_json()})

    @property
    def _board(self) -> str:
        return "/".join([DOMAIN, *self.location.prefix, self.location.model, "page"])

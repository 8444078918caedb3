"""What a person sends from the page: checked, signed with the page's own key, and passed on to whoever may decide.

This process decides nothing and has no key of records. It tells who asks by the word of the proxy, and waits for what
became of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from banana_delivery.errors import EvidenceError, RefusedError, redacted
from banana_delivery.policy.holds import Act, PageAnswer, PageRequest, may_decide
from banana_delivery.quoting import one_line
from banana_delivery.reports.overview import Json
from banana_delivery.runs.evidence.requests import Board, Requests

LOG = logging.getLogger(__name__)
ANSWER_SECONDS = 20.0
"""How long a page waits for what became of its request; most take a second, a release that has to start longer."""
SILENT_SECONDS = 20.0
"""A reader that gave out no new beat for so long is not there; it does every five."""
BETWEEN_SECONDS = 0.25
MOST_TOKENS = 500
"""That were used are remembered; how old the page is that showed one, its beat tells."""
MOST_WAITING = 20
"""Requests that wait for their answers at once."""
MOST_CHARACTERS = 500
"""Of a reason and of every name."""
NOT_YET = "It was asked, and nobody answered yet; it may still be done within half a minute. Look what is now."
SENT = "This was sent already, or the page is not yours; look what is now, and ask again."
LACKS = "Nobody can decide here: "
_FROM_THE_PAGE = ("act", "reason", "beat", "version", "digest", "run_id", "until", "zone", "seen")


@dataclass
class Asking:
    """Takes what people decide on the page.

    Attributes:
        requests: where it goes.
        deciders: who may, as the proxy names them.
        clock: seconds that only go forward.
    """

    requests: Requests
    deciders: Sequence[str]
    clock: Callable[[], float] = time.monotonic
    _used: dict[str, None] = field(default_factory=dict, init=False)
    _waiting: int = field(default=0, init=False)
    _beat: str = field(default="", init=False)
    _since: float = field(default=0.0, init=False)

    def who(self, person: str) -> Json:
        """Who asks, whether he may decide here, and if so a token for one decision of his; else what is missing for it.

        Args:
            person: as the proxy names him; empty if nobody does.
        """
        if not may_decide(person, self.deciders):
            return {"who": person, "may": False, "token": ""}
        try:
            return {"who": person, "may": True, "token": self.requests.token(person)}
        except EvidenceError as error:
            return {"who": person, "may": False, "token": "", "said": f"{LACKS}{error}"}

    async def decide(self, person: str, told: object) -> tuple[int, Json]:
        """Pass on what a person decides, and wait for what becomes of it.

        Args:
            person: as the proxy names him; empty if nobody does.
            told: what the page sent.

        Returns:
            The status of the answer, and the answer.

        Raises:
            RefusedError: if it is not passed on.
        """
        if not may_decide(person, self.deciders):
            raise RefusedError(403, "You may not decide here; BANANA_PAGES_DECIDERS names who may.")
        if lack := self._lack():
            raise RefusedError(503, lack)
        if not isinstance(told, Mapping):
            raise RefusedError(400, "A decision is an object.")
        request_id = self._taken(str(told.get("token", "")), person)
        if self._waiting >= MOST_WAITING:
            raise RefusedError(503, "Too much is asked at once; type the command.")
        self._waiting += 1
        try:
            return await self._passed_on(person, request_id, told)
        finally:
            self._waiting -= 1

    def _lack(self) -> str:
        """What is missing to sign what is asked here; empty if nothing is."""
        try:
            self.requests.location.asking.refuse_unusable()
        except EvidenceError as error:
            return f"{LACKS}{error}"
        return ""

    def _taken(self, token: str, person: str) -> str:
        """The id of what a token is for, which is good once.

        Raises:
            RefusedError: if it is not this person's, or was used up here.
        """
        request_id = self.requests.id_of(token, person)
        used, self._used[token] = token in self._used, None
        while len(self._used) > MOST_TOKENS:
            del self._used[next(iter(self._used))]
        if used or not request_id:
            raise RefusedError(409, SENT)
        return request_id

    async def _passed_on(self, person: str, request_id: str, told: Mapping[str, object]) -> tuple[int, Json]:
        try:
            board = await asyncio.to_thread(self.requests.board)
            self._refuse_if_nobody_reads(board)
            _refuse_if_answered(board, request_id)
            request = _request(person, request_id, told)
            await asyncio.to_thread(self.requests.ask, request)
            LOG.info("%a asks: %s of version %a, delivery %a", person, request.act, request.version, request.run_id)
            answer = await self._answer(request.id)
        except RefusedError:
            raise
        except EvidenceError as error:
            raise RefusedError(503, str(error)) from error
        except Exception as error:
            LOG.exception("What %a asks could not be passed on.", person)
            said = one_line(redacted((str(error).strip() or type(error).__name__).splitlines()[0]))
            raise RefusedError(503, f"It could not be passed on: {said} Type the command.") from error
        if answer is None:
            return 202, {"done": False, "said": NOT_YET}
        return 200, answer.model_dump(mode="json")

    def _refuse_if_nobody_reads(self, board: Board) -> None:
        """Let nobody ask where there is no reader.

        Raises:
            RefusedError: if so.
        """
        if board.beat != self._beat:
            self._beat, self._since = board.beat, self.clock()
        if not board.beat or self.clock() - self._since > SILENT_SECONDS:
            raise RefusedError(
                503, "Nobody is there who could do it: the sensor page_decisions does not tick. Type the command."
            )

    def look(self) -> str:
        """See whether a reader is there; whoever shows the page does so now and then, before he looks at anything else.

        Returns:
            The reader's beat. Shown with what is, it comes back with what is asked, and tells how old that was.
        """
        beat = self.requests.board().beat if self.deciders else ""
        if beat != self._beat:
            self._beat, self._since = beat, self.clock()
        return beat

    async def _answer(self, request_id: str) -> PageAnswer | None:
        end = self.clock() + ANSWER_SECONDS
        while self.clock() < end:
            await asyncio.sleep(BETWEEN_SECONDS)
            board = await asyncio.to_thread(self.requests.board)
            if request_id in board.answers:
                return board.answers[request_id]
        return None


def _refuse_if_answered(board: Board, request_id: str) -> None:
    """Let nobody send what another process that serves this page has sent.

    Raises:
        RefusedError: if so.
    """
    if request_id in board.answers:
        raise RefusedError(409, SENT)


def _request(person: str, request_id: str, told: Mapping[str, object]) -> PageRequest:
    """What the page sent as a request.

    Raises:
        RefusedError: if it is none.
    """
    sent = {name: told[name] for name in _FROM_THE_PAGE if told.get(name) is not None}
    if any(isinstance(value, str) and len(value) > MOST_CHARACTERS for value in sent.values()):
        raise RefusedError(400, f"A reason has at most {MOST_CHARACTERS} characters.")
    if not str(sent.get("reason", "")).strip():
        raise RefusedError(400, "It needs a reason, which the audit trail keeps.")
    if sent.get("act") not in {str(act) for act in Act}:
        raise RefusedError(400, f"What can be decided here: {', '.join(Act)}.")
    try:
        return PageRequest.model_validate({"beat": "", **sent, "id": request_id, "by": person})
    except ValidationError as error:
        raise RefusedError(400, f"This is no decision: {error.errors()[0]['msg']}.") from error

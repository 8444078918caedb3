"""What people said about keeping deliveries out of production, keeping one where it is, and ending one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from banana_delivery.policy.model import Model, StoredRecord


class FreezeRecord(StoredRecord):
    """That somebody let nothing into production any more, or let deliveries in again; the latest one counts.

    Attributes:
        frozen: which of the two.
        by: who.
        reason: why.
        at: seconds since the epoch.
        until: when it ends by itself, seconds since the epoch; None if it does not.
    """

    frozen: bool
    by: str
    reason: str
    at: float
    until: float | None = None


class PauseRecord(StoredRecord):
    """That somebody let a delivery's traffic stay where it is, or go on; the latest one about a delivery counts.

    Attributes:
        run_id: the delivery.
        version: that it delivers, for people.
        paused: which of the two.
        by: who.
        reason: why.
        at: seconds since the epoch, for people.
    """

    run_id: str
    version: str = ""
    paused: bool
    by: str
    reason: str
    at: float

    @property
    def words(self) -> str:
        """Who and why, for people."""
        return f"{self.by}: {self.reason}"


class AbortRecord(StoredRecord):
    """That somebody ended a delivery: its users go back, and its version stays staged.

    Attributes:
        run_id: the delivery.
        version: that it delivers, for people.
        by: who.
        reason: why.
        at: seconds since the epoch, for people.
    """

    run_id: str
    version: str = ""
    by: str
    reason: str
    at: float


def standing_pause(said: Iterable[PauseRecord], run_id: str) -> PauseRecord | None:
    """Who keeps a delivery where it is; None if nobody does.

    Args:
        said: about whichever deliveries, the latest first.
        run_id: which one.
    """
    latest = next((one for one in said if one.run_id == run_id), None)
    return latest if latest and latest.paused else None


class Act(StrEnum):
    """What can be decided on the page of deliveries."""

    APPROVE = "approve"
    WITHDRAW = "withdraw"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


class PageRequest(StoredRecord):
    """What a person asks for on the page of deliveries, and what that page showed: it is done only if that still is so.

    Attributes:
        id: no other request has it; of several with one id the first counts.
        act: what is to be done.
        by: who asks, by the word of the proxy where people log in.
        reason: why.
        beat: that was shown last to who asks; it tells how old is what he saw, whatever the clocks say.
        version: which one it is about; empty for none.
        digest: the image of that version.
        run_id: the delivery that it is about; empty for none.
        until: when a freeze ends by itself, as typed.
        zone: of the clock of whoever typed that, such as Europe/Berlin.
        seen: when the freeze or the pause was said that is to be ended, or the latest of what is to be taken back,
            seconds since the epoch.
    """

    id: str
    act: Act
    by: str
    reason: str
    beat: str
    version: str = ""
    digest: str = ""
    run_id: str = ""
    until: str = ""
    zone: str = ""
    seen: float | None = None


class PageAnswer(Model):
    """What became of a request.

    Attributes:
        done: whether it is done.
        said: one sentence.
    """

    done: bool
    said: str


def may_decide(person: str, deciders: Collection[str]) -> bool:
    """Whether a person may decide on the page; nobody may whom no proxy names.

    Args:
        person: as the proxy names him; empty for nobody.
        deciders: the names of those who may; ``*`` for everybody with a name.
    """
    return bool(person) and not {person, "*"}.isdisjoint(deciders)


def why_not(asked: PageRequest, deciders: Collection[str], beats: Collection[str]) -> str:
    """Why a request is not looked at any further, as a sentence; empty if it is.

    Args:
        asked: the request.
        deciders: the names of those who may ask.
        beats: the latest ones, of which it has to name one.
    """
    if not may_decide(asked.by, deciders):
        return f"{asked.by or 'Nobody'} may not decide here; BANANA_PAGES_DECIDERS names who may."
    if asked.beat not in beats:
        return "What was shown is too old, or the pipeline was started since; look what is now, and ask again."
    if not asked.reason.strip():
        return "It needs a reason, which the audit trail keeps."
    return ""

"""What people ask for on the page of deliveries, done by a process that has the key, as if they had typed it.

The page only asks. Here it is looked at who asks, how long ago and about what; then the functions of the command line
do it. Each request is taken up once, and before anything is done: what breaks off is not begun again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from banana_delivery.delivery.deciding.aborting import say_abort
from banana_delivery.delivery.deciding.decisions import freeze_as_shown, put_on_record, withdraw
from banana_delivery.delivery.deciding.going_on import VIA_PAGE, Approved, Due, GoingOn, not_known
from banana_delivery.delivery.live.pausing import say_pause
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import BadSettingsError, BananaDeliveryError, EvidenceError, GateError, redacted
from banana_delivery.policies.calendar import until_words
from banana_delivery.policy.approvals.going_on import awaits_approval
from banana_delivery.policy.asset_records import DecisionKind, ManualDecision
from banana_delivery.policy.holds import Act, PageAnswer, PageRequest, why_not
from banana_delivery.quoting import one_line
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.expiry import LOOKED_AT
from banana_delivery.runs.evidence.requests import Board, Requests
from banana_delivery.runs.instance import running_sensors
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
COUNTS_SECONDS = 30.0
"""For so long a request counts, from the beat that its page had read, by the clock here that nobody sets."""
KEPT = 50
"""So many answers stand on the board."""
REMEMBERED = 1000
TRIGGER = "page"


@dataclass
class Desk:
    """What a process remembers of what was asked: the beats that it gave out, and what it took up.

    Where it ends, its beats end with it: nothing that was asked of an earlier process is ever done.

    Attributes:
        beats: each with when it was given out, the oldest first.
        taken: ids of the requests that were taken up, the oldest first.
        newest: the place of the last request that was looked at.
        answers: what became of the latest ones.
        approved: versions that somebody approved and that may not have gone on yet, beside those of which the latest
            lines of the audit trail tell, which knows of what other processes and ticks heard.
    """

    beats: dict[str, float] = field(default_factory=dict)
    taken: dict[str, None] = field(default_factory=dict)
    newest: int = -1
    answers: dict[str, PageAnswer] = field(default_factory=dict)
    approved: set[str] = field(default_factory=set)

    def beat(self, now: float) -> str:
        """A new one; those that are too old count no more."""
        fresh = secrets.token_hex(8)
        self.beats[fresh] = now
        self.counting(now)
        return fresh

    def counting(self, now: float) -> set[str]:
        """The beats that still count."""
        for old in [one for one, at in self.beats.items() if now - at > COUNTS_SECONDS]:
            del self.beats[old]
        return set(self.beats)

    def take(self, request: PageRequest) -> bool:
        """Whether this is the first time that a request is seen."""
        if request.id in self.taken:
            return False
        while len(self.taken) >= REMEMBERED:
            del self.taken[next(iter(self.taken))]
        self.taken[request.id] = None
        return True

    def answer(self, request: PageRequest, answer: PageAnswer) -> None:
        """Keep what became of a request."""
        self.answers[request.id] = answer
        while len(self.answers) > KEPT:
            del self.answers[next(iter(self.answers))]


_DESKS: dict[CodeLocation, Desk] = {}


def desk_of(location: CodeLocation) -> Desk:
    """The one of a pipeline in this process."""
    return _DESKS.setdefault(location, Desk())


@dataclass
class ByPage:
    """Takes up what is asked and does it.

    Attributes:
        recorder: puts a rollback on record; its settings say who may ask.
        log: the audit trail.
        requests: what was asked.
        rollback: takes releases out of production.
        clock: dates decisions and times requests.
        desk: what this process remembers.
    """

    recorder: AttemptRecorder
    log: AuditLog
    requests: Requests
    rollback: EmergencyRollback
    clock: Clock
    desk: Desk
    _beat: str = field(default="", init=False)

    def begin(self) -> str:
        """Show that somebody is here, unless what is asked cannot be believed here.

        Returns:
            Why it cannot, as a sentence; empty if it can.

        Raises:
            EvidenceError: if the page asks by a key that signs records, too: then nobody is.
        """
        asking = self.log.location.asking
        asking.refuse_shared()
        try:
            asking.refuse_unusable()
        except EvidenceError as error:
            return f"What is asked on the page cannot be believed here: {error}"
        if not self.desk.answers:
            self.desk.answers.update(self.requests.board().answers)
        self._beat = self.desk.beat(self.clock.monotonic())
        self._post()
        return ""

    def look(self) -> list[str]:
        """Do what was asked since the last look, rollbacks first, and say what became of it."""
        newest = self.requests.newest()
        if newest == self.desk.newest:
            return []
        fresh = [one for one in self.requests.latest() if one.id not in self.desk.answers and self.desk.take(one)]
        told = []
        for request in sorted(fresh, key=lambda one: one.act is not Act.ROLLBACK):
            answer = self._answered(request)
            self.desk.answer(request, answer)
            self._post()
            told.append(f"{request.act}, {request.by}: {answer.said}")
        self.desk.newest = newest
        return told

    def _post(self) -> None:
        """Let everybody know; what is done stays done where that cannot be said now, and the next tick says it."""
        try:
            self.requests.post(Board(beat=self._beat, answers=self.desk.answers))
        except Exception as error:  # noqa: BLE001 - whatever Dagster's database does, the next request is not kept waiting
            LOG.warning("What became of the requests could not be said: %s", redacted(str(error)))

    def _answered(self, request: PageRequest) -> PageAnswer:
        deciders, now = self.recorder.settings.pages_deciders, self.clock.monotonic()
        if refused := why_not(request, deciders, self.desk.counting(now)):
            return PageAnswer(done=False, said=refused)
        try:
            done = _ACTS[request.act](self, request, f"{request.by}{VIA_PAGE}")
            return PageAnswer(done=True, said=one_line(redacted(done)))
        except BananaDeliveryError as error:
            return PageAnswer(done=False, said=one_line(redacted(str(error))))
        except Exception as error:
            LOG.exception("What %s asked for could not be done.", request.by)
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            return PageAnswer(done=False, said=f"It may not be done: {one_line(redacted(said))} Look what is now.")

    def _approve(self, request: PageRequest, by: str) -> str:
        if not request.digest:
            raise GateError("An approval is about one image, and none was named.")
        version, digest = request.version, request.digest
        if not awaits_approval(next(self.log.each_attempt(version), None), digest):
            raise GateError(
                f"Version {version} as {digest[:19]} does not wait for an approval any more; look what is now."
            )
        self._follows.refuse_while_closed(version)
        said = put_on_record(self.log, self.clock, DecisionKind.APPROVAL, version, digest, request.reason, by)
        self.desk.approved.add(said.version)
        follows = self._follows.of(said)
        waits = "It goes on once its delivery under way has ended." if follows.state is Approved.WAITS else ""
        done = f"Version {said.version} is approved as {said.digest[:19]}, on record as {said.by}."
        stopped = "" if follows.state is Approved.OVER else self._stopped()
        return " ".join(filter(None, [done, waits, follows.why_not, stopped]))

    def _withdraw(self, request: PageRequest, by: str) -> str:
        if not request.version or request.seen is None:
            raise GateError("It was not said which approval is to be taken back.")
        settings, said = self.recorder.settings, (request.version, request.reason, by)
        done = withdraw(self.log, settings, self.clock, *said, seen=request.seen)
        return " ".join([f"On record as {by}:", *done.sentences])

    def _stopped(self) -> str:
        """That nobody starts what follows, as where sensors are started by hand and an upgrade brought another one."""
        running = running_sensors(self.log.instance, self.log.location.name)
        if "page_decisions" not in running or "page_approvals" in running:
            return ""
        return "Nothing starts it while the sensor page_approvals is stopped: start that in Dagster's pages."

    @property
    def _follows(self) -> GoingOn:
        return GoingOn(self.recorder, self.log, Runs(self.log.instance, self.log.location))

    def _versions(self) -> set[str]:
        """Those that somebody approved here and that may not have gone on yet."""
        self.desk.approved.update(one.version for one in self.log.decisions(latest=LOOKED_AT) if _is_ours(one))
        return self.desk.approved

    def going_on(self) -> tuple[list[Due], list[str]]:
        """What goes on now that was approved here.

        Returns:
            The deliveries that are to be asked for, and of which versions that is not known, as sentences: these are
            seen to at the next tick, and keep no other.
        """
        try:
            versions = sorted(self._versions())
        except Exception as error:  # noqa: BLE001 - whatever it is, the next tick asks again
            return [], [_unknown("Which versions go on that were approved", error)]
        due: list[Due] = []
        told: list[str] = []
        for version in versions:
            try:
                due += filter(None, [self._see_to(version)])
            except Exception as error:  # noqa: BLE001 - see above
                told.append(_unknown(f"Whether version {version} goes on, which was approved,", error))
        return due, told

    def _see_to(self, version: str) -> Due | None:
        said = next((one for one in self.log.decisions(version) if _is_ours(one)), None)
        follows = self._follows.of(said) if said else None
        if follows is None or follows.state is Approved.OVER:
            self.desk.approved.discard(version)
        return follows.due if follows else None

    def _pause(self, request: PageRequest, by: str) -> str:
        target, paused = self.rollback.target, request.act is Act.PAUSE
        if not request.run_id:
            raise GateError("It was not said which delivery is meant.")
        if not paused and getattr(self.log.pause(request.run_id), "at", None) != request.seen:
            raise GateError("The pause that was shown is not the one that stands; look what is now, and ask again.")
        said = say_pause(target, self.log, self.clock, by, request.reason, paused=paused, run_id=request.run_id)
        return f"Version {said.version} {'stays at its weight, watched' if paused else 'goes on'}."

    def _abort(self, request: PageRequest, by: str) -> str:
        if not request.run_id:
            raise GateError("It was not said which delivery is to end.")
        done = say_abort(self.rollback.target, self.log, self.clock, by, request.reason, run_id=request.run_id)
        return f"On record as {done.said.by}: {done.sentence}."

    def _roll_back(self, request: PageRequest, by: str) -> str:
        if not request.digest:
            raise GateError("It was not said what has to go.")
        done = self.rollback.roll_back(actor=by, reason=request.reason, version=request.version, digest=request.digest)
        serving = done.serving_version or "none"
        return f"Version {done.version} is out of production; version {serving} serves ({done.rollback_seconds:.1f} s)."

    def _freeze(self, request: PageRequest, by: str) -> str:
        frozen = request.act is Act.FREEZE
        until, zone = request.until, request.zone
        said = freeze_as_shown(
            self.log, self.clock, by, request.reason, until, frozen=frozen, seen=request.seen, zone=zone
        )
        with suppress(BadSettingsError):  # What is said counts, and a delivery says what is wrong with the policy.
            if not frozen and (still := self._follows.closed()):
                return f"This freeze is lifted. {still}"
        what = "Nothing enters production" if frozen else "Deliveries may enter production"
        return f"{what}{until_words(said.until, zone)}."


def _unknown(what: str, error: Exception) -> str:
    said = not_known(what, error)
    LOG.warning("%s", said)
    return said


def _is_ours(said: ManualDecision) -> bool:
    """Whether it is an approval by page: others start what follows from theirs by themselves."""
    return said.kind is DecisionKind.APPROVAL and said.by.endswith(VIA_PAGE)


_ACTS: Mapping[Act, Callable[[ByPage, PageRequest, str], str]] = {
    Act.APPROVE: ByPage._approve,
    Act.WITHDRAW: ByPage._withdraw,
    Act.PAUSE: ByPage._pause,
    Act.RESUME: ByPage._pause,
    Act.ABORT: ByPage._abort,
    Act.ROLLBACK: ByPage._roll_back,
    Act.FREEZE: ByPage._freeze,
    Act.UNFREEZE: ByPage._freeze,
}

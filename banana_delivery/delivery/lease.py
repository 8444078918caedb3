"""Holding an environment: claim it, show that we live while we work, give it back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from banana_delivery.errors import ClaimOutdatedError, ClaimRefusedError, DriftError, FencedError, TargetError
from banana_delivery.policy import commands
from banana_delivery.policy.model import Environment, Phase, RolloutRecord
from banana_delivery.targets.base import Claim, ReleaseTarget, Takeover

LOG = logging.getLogger(__name__)
SCALER, RECONCILER = "cool_down", "reconcile"
TIDIERS = (SCALER, RECONCILER)
"""Owners that give an environment back within seconds."""
TIDYING_SECONDS = 30.0


PAUSE_SECONDS = 1.0
QUIET_SECONDS = 5.0
"""Between two steps a delivery has neither environment for a moment, and has not ended."""


@dataclass(frozen=True)
class Patience:
    """How somebody waits for others who live.

    Attributes:
        seconds: how long at most.
        stale_after_seconds: an owner silent for longer is dead, and not waited for.
        sleep: passes time.
        say: told what is waited for.
    """

    seconds: float
    stale_after_seconds: float
    sleep: Callable[[float], object]
    say: Callable[[str], object]


def wait_for_rivals(target: ReleaseTarget, owner: str, patience: Patience) -> None:
    """Wait while somebody else's delivery is under way: another pipeline's, or one of ours outside the queue.

    Nobody is waited for who shows no life; whoever claims the environment next decides what becomes of such an owner.

    Args:
        target: where both deliver.
        owner: who waits.
        patience: how.
    """
    seen = _others(target, owner)
    if not seen:
        return
    patience.say(f"Waiting for {' and '.join(sorted({name for name, _ in seen}))}, whose delivery is under way.")
    waited = quiet = silent = 0.0
    while quiet < QUIET_SECONDS and silent <= patience.stale_after_seconds and waited < patience.seconds:
        patience.sleep(PAUSE_SECONDS)
        waited += PAUSE_SECONDS
        now = _others(target, owner)
        quiet = 0.0 if now else quiet + PAUSE_SECONDS
        silent = silent + PAUSE_SECONDS if now and now == seen else 0.0
        seen = now


def _others(target: ReleaseTarget, owner: str) -> set[tuple[str, str]]:
    """Who else has an environment, and their signs of life."""
    records = [target.record(environment) for environment in Environment]
    return {(one.owner, one.sign_of_life) for one in records if one.owner and one.owner not in {owner, *TIDIERS}}


class Lease:
    """A claim that stays fresh for as long as the block runs.

    Attributes:
        claim: what every change is made under.
        waited: whether somebody else had it first, so that what was known before may be true no more.

    A thread beats the heart, so that work of any length between two calls does not look like death. Once the claim is
    lost, the next ``check`` or mutation raises ``FencedError``.
    """

    def __init__(
        self,
        target: ReleaseTarget,
        environment: Environment,
        owner: str,
        *,
        heartbeat_seconds: float,
        seen: RolloutRecord | None = None,
        takeover: Takeover | None = None,
        is_silent: Callable[[RolloutRecord], bool] = lambda _: False,
        patience: Patience | None = None,
        ends: Callable[[], object] = lambda: None,
    ) -> None:
        """Claim nothing yet.

        Args:
            target: where the environment is.
            environment: which one.
            owner: who wants it.
            heartbeat_seconds: how often to show that we live.
            seen: the record that decided for the claim: any other one, and it is refused. None: whatever is there.
            takeover: from whom it may be taken if ``seen`` names an owner.
            is_silent: whether the owner in a record is dead.
            patience: how to wait for an owner who lives; None: not at all.
            ends: raises once whoever claims it is to end; called by ``check``.
        """
        self._target = target
        self._environment = environment
        self._owner = owner
        self._every = heartbeat_seconds
        self._seen = seen
        self._takeover = takeover
        self._is_silent = is_silent
        self._patience = patience
        self._ends = ends
        self.waited = False
        self._stop, self._due = threading.Event(), threading.Event()
        self._look: str | None = None
        self._beaten_at = 0.0
        self._lost: FencedError | None = None
        self._failed, self._why = 0, ""
        self._thread = threading.Thread(target=self._heartbeat, name=f"heartbeat-{environment}", daemon=True)
        self.claim: Claim

    def __enter__(self) -> Lease:
        """Claim the environment.

        Raises:
            DriftError: if it is held after a hand edit.
            ClaimRefusedError: if another owner lives.
            ClaimOutdatedError: if the environment is not as it was seen.
        """
        self.claim = self._claim_as(self._seen, self._takeover) if self._seen else self._patient_claim()
        self._beaten_at = time.monotonic()
        self._thread.start()
        return self

    def _patient_claim(self) -> Claim:
        """Claim; the sensors that tidy up hold an environment for seconds only, and nobody fails because of them.

        Another delivery holds it for as long as it takes, and is waited for if whoever claims has the patience.
        """
        deadline, waited = time.monotonic() + TIDYING_SECONDS, 0.0
        while True:
            record = self._target.record(self._environment)
            try:
                if record.owner in {None, self._owner}:
                    return self._claim_as(record, None)
                if self._is_silent(record):
                    return self._claim_as(record, Takeover.SILENT)
                return self._target.claim(self._environment, self._owner)
            except ClaimOutdatedError:
                if time.monotonic() > deadline:
                    raise
            except ClaimRefusedError:
                if record.owner in {None, *TIDIERS} and time.monotonic() <= deadline:
                    time.sleep(0.2)
                    continue
                if self._patience is None or waited >= self._patience.seconds:
                    raise
                if not waited:
                    self._patience.say(f"Waiting for {self._environment}, which belongs to {record.owner}.")
                self._patience.sleep(PAUSE_SECONDS)
                waited += PAUSE_SECONDS
                self.waited = True

    def _claim_as(self, record: RolloutRecord, takeover: Takeover | None) -> Claim:
        if takeover is not Takeover.ANYBODY:
            refuse_if_held(record)
        return self._target.claim(self._environment, self._owner, seen=record, takeover=takeover)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the environment back; a claim that was lost is not ours to give."""
        self._stop.set()
        self._due.set()
        self._thread.join(timeout=10 * self._every)
        # Whoever cannot give it back has ended all the same: the reconcile sensor finds an owner that is gone.
        with suppress(TargetError):
            self._target.release(self.claim)

    def enter(self, phase: Phase, **facts: object) -> RolloutRecord:
        """Write the phase, and whatever else is known, into the durable record.

        Raises:
            FencedError: if somebody else has taken the environment over.
        """
        record = self._target.record(self._environment)
        return self._target.write(self.claim, record.replace(phase=phase, **facts))

    def show(self, look: str) -> None:
        """Let people see what is under way: it is written with a beat of the heart, at once unless one was just now.

        Args:
            look: what is seen, as JSON. Only the newest is ever written.
        """
        self._look = look
        if time.monotonic() - self._beaten_at >= min(self._target.show_seconds, self._every):
            self._due.set()

    def check(self) -> None:
        """Stop here if somebody else has taken the environment over, or if whoever holds it is to end.

        Raises:
            FencedError: if it was taken over.
            TargetError: if the heart does not beat any more for a reason that nobody thought of.
        """
        self.check_claim()
        self._ends()

    def check_claim(self) -> None:
        """The same for the way back, which nobody ends who ends a delivery.

        Raises:
            FencedError: see ``check``.
            TargetError: likewise.
        """
        if self._lost:
            raise self._lost
        if self._why:
            raise TargetError(f"The heartbeat of {self._environment} failed {self._failed} times, at last: {self._why}")

    def verify(self) -> None:
        """Ask the environment itself whether it is still ours, where evidence depends on nobody having meddled.

        Raises:
            FencedError: if somebody else has taken it over.
        """
        self._target.heartbeat(self.claim)

    def _is_to_beat(self) -> bool:
        """Wait until the heart has to beat; False once it is to stop."""
        self._due.wait(self._every)
        self._due.clear()
        self._beaten_at = time.monotonic()
        return not self._stop.is_set()

    def _heartbeat(self) -> None:
        while self._is_to_beat():
            try:
                look, self._look = self._look, None
                self._target.heartbeat(self.claim, look)
                self._why = ""
            except FencedError as lost:
                self._lost = lost
                return
            except TargetError:
                # An API server that is away for some seconds is no reason to stop; staying away too long makes us
                # stale, and then whoever takes over fences us.
                continue
            except Exception as error:
                # No file descriptor or no memory is left, say. A thread that ended here would do so without a word.
                self._failed, self._why = self._failed + 1, f"{type(error).__name__}: {error}"
                LOG.exception("The heartbeat of %s failed for the %d. time.", self._environment, self._failed)


def refuse_if_held(record: RolloutRecord) -> None:
    """Let nobody begin where a person has to decide first.

    Raises:
        DriftError: if the environment is held after a hand edit; one sentence: what, why, what to type.
    """
    if record.phase is Phase.DRIFTED:
        raise DriftError(
            f"{record.environment.capitalize()} is held: {record.note} "
            f"When it is as you want it, type: {commands.resume(record.environment)}"
        )

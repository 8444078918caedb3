"""Holding an environment: claim it, show that we live while we work, give it back."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType

from banana_delivery.errors import ClaimRefusedError, DriftError, FencedError, TargetError
from banana_delivery.policy import commands
from banana_delivery.policy.model import Environment, Phase, RolloutRecord
from banana_delivery.targets.base import Claim, ReleaseTarget

SCALER, RECONCILER = "cool_down", "reconcile"
TIDIERS = (SCALER, RECONCILER)
"""Owners that give an environment back within seconds."""
TIDYING_SECONDS = 30.0


class Lease:
    """A claim that stays fresh for as long as the block runs.

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
        takeover: bool = False,
    ) -> None:
        self._target = target
        self._environment = environment
        self._owner = owner
        self._every = heartbeat_seconds
        self._takeover = takeover
        self._stop = threading.Event()
        self._lost: FencedError | None = None
        self._thread = threading.Thread(target=self._heartbeat, name=f"heartbeat-{environment}", daemon=True)
        self.claim: Claim

    def __enter__(self) -> Lease:
        """Claim the environment.

        Raises:
            DriftError: if it is held after a hand edit.
            ClaimRefusedError: if another owner lives.
        """
        if not self._takeover:
            refuse_if_held(self._target.record(self._environment))
        self.claim = self._patient_claim()
        self._thread.start()
        return self

    def _patient_claim(self) -> Claim:
        """Claim; the sensors that tidy up hold an environment for seconds only, and nobody fails because of them."""
        deadline = time.monotonic() + TIDYING_SECONDS
        while True:
            try:
                return self._target.claim(self._environment, self._owner, takeover=self._takeover)
            except ClaimRefusedError:
                holder = self._target.record(self._environment).owner
                if holder not in {None, *TIDIERS} or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the environment back; a claim that was lost is not ours to give."""
        self._stop.set()
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

    def check(self) -> None:
        """Stop here if somebody else has taken the environment over.

        Raises:
            FencedError: if so.
        """
        if self._lost:
            raise self._lost

    def verify(self) -> None:
        """Ask the environment itself whether it is still ours, where evidence depends on nobody having meddled.

        Raises:
            FencedError: if somebody else has taken it over.
        """
        self._target.heartbeat(self.claim)

    def _heartbeat(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self._target.heartbeat(self.claim)
            except FencedError as lost:
                self._lost = lost
                return
            except TargetError:
                # An API server that is away for some seconds is no reason to stop; staying away too long makes us
                # stale, and then whoever takes over fences us.
                continue


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

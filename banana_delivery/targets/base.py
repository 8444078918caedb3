"""What the pipeline needs from where releases run.

A target keeps one durable, fenced ``RolloutRecord`` per environment. Whoever wants to change an environment claims it
first; every change carries the claim and fails with ``FencedError`` once somebody else has taken over. So a process
that was thought dead and wakes up, or a second pipeline, cannot move traffic.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import Colour, Environment, ImageRef, RolloutRecord, TrafficSnapshot


@dataclass(frozen=True)
class Claim:
    """The right to change one environment, as long as nobody takes it over.

    Attributes:
        environment: which one.
        owner: who holds it: a Dagster run id or a person.
        generation: the record's generation when the claim was made.
    """

    environment: Environment
    owner: str
    generation: int


class Takeover(Enum):
    """From whom an environment is taken.

    Attributes:
        SILENT: from an owner that was judged dead; one more sign of life, and it keeps the environment.
        ANYBODY: from a living owner too, on purpose.
    """

    SILENT = auto()
    ANYBODY = auto()


@dataclass(frozen=True)
class Readiness:
    """How far the replicas of a colour are.

    Attributes:
        ready: replicas that answer, with the digest that was deployed.
        wanted: replicas asked for.
        failure: set when waiting longer cannot help (crash loop, image cannot be pulled): one sentence that says why.
        waiting_for: what the missing replicas are doing, for progress lines and the sentence at the deadline.
        place_at_fault: whether it is the target that keeps them from starting (image cannot be pulled, no node takes
            them) and not the release.
    """

    ready: int
    wanted: int
    failure: str = ""
    waiting_for: str = ""
    place_at_fault: bool = False

    @property
    def complete(self) -> bool:
        """Whether every replica asked for answers."""
        return not self.failure and self.ready >= self.wanted


@dataclass(frozen=True)
class RecordDamage:
    """What is wrong with the stored record although it is known; whatever is written next under a claim mends it.

    Attributes:
        what: one sentence for a person.
        restored: whether the record was lost, and what is read comes from its copy; otherwise it is the copy that is
            missing or old, which hurts nobody yet.
    """

    what: str
    restored: bool


class ReleaseTarget(ABC):
    """Where releases run. Every implementation passes ``tests/contract/test_release_target.py``.

    Rules that hold for all of them:
        - ``record`` of an environment that was never used is ``RolloutRecord(environment=...)``.
        - A mutation under a stale claim raises ``FencedError`` and changes nothing.
        - ``deploy``, ``scale`` and ``set_weights`` update the record in the same breath.
        - Every write of the record is followed by one of its copy. A record that is missing, unreadable or older than
          its copy or than the generations on the objects is restored from the copy: ``record`` tells what it says, the
          next write under a claim stores it again, together with the weights and whatever carries them.
        - An environment counts as never used only if there is no record, no copy and nothing of ours in it.
        - No replica is taken from under users, whether the record or only the router knows of them: a colour that the
          router sends users to is neither scaled to 0 nor turned into another release.
        - Methods may block for seconds (a router reload), never for minutes: waiting is the caller's, by ``readiness``.

    Attributes:
        show_seconds: what an owner sees is written when so much time has passed since its last sign of life, so that
            nobody looks at what is older; with the heartbeat at the latest.
    """

    show_seconds: ClassVar[float] = math.inf

    @abstractmethod
    def record(self, environment: Environment) -> RolloutRecord:
        """The durable record of an environment, from its copy if it was lost.

        Raises:
            LostRecordError: if the copy is lost as well; ``rebuild`` and ``restore`` make a new one.
            TargetError: if the target cannot be reached.
        """

    @abstractmethod
    def damage(self, environment: Environment) -> RecordDamage | None:
        """What is wrong with the stored record although ``record`` knows it; None if nothing is.

        It costs more than ``record`` and is for those who look at an environment at rest. While somebody writes, the
        copy may be seen a moment behind.

        Raises:
            LostRecordError: if there is neither a record nor a copy.
            TargetError: if the target cannot be reached.
        """

    @abstractmethod
    def rebuild(self, environment: Environment, active: Colour | None = None) -> RolloutRecord:
        """A record at rest, from what runs; nothing is stored. It works while the record is lost.

        Args:
            environment: which one.
            active: the colour that a person says owns the traffic; None to find out.

        Raises:
            TargetError: if it cannot be told which colour owns the traffic, or the target cannot be reached.
        """

    @abstractmethod
    def restore(self, record: RolloutRecord, owner: str) -> Claim:
        """Store a rebuilt record in the place of whatever is stored, under a new claim above all generations.

        The weights are the caller's to set.

        Raises:
            ClaimRefusedError: if a record can be read that another living owner has.
            TargetError: if it cannot be stored.
        """

    @abstractmethod
    def claim(
        self,
        environment: Environment,
        owner: str,
        *,
        seen: RolloutRecord | None = None,
        takeover: Takeover | None = None,
    ) -> Claim:
        """Become the owner of an environment, in one step with proving that it still is as it was judged to be.

        The same owner may claim again and keeps its generation. Whoever takes over, even from its own name, begins a
        new one. No target judges whether an owner lives: it has no clock that could.

        Args:
            environment: which one.
            owner: who wants it.
            seen: the record that the claim was decided by; None for whatever is there, which must then be free.
            takeover: from whom it may be taken; None: from nobody.

        Raises:
            ClaimOutdatedError: if the record is another one than was seen. Signs of life count as a difference only if
                their absence is what was judged.
            ClaimRefusedError: if somebody else has it and ``takeover`` is not set.
            ValueError: if it is to be taken from somebody who was not seen.
        """

    @abstractmethod
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        """Store what the owner knows (phase, candidate, active, plan, baseline, scale_down_at, note) and show life.

        ``environment``, ``generation``, ``owner``, ``beat``, ``heartbeat``, ``look``, ``deployments`` and ``weights``
        are the target's own: whatever ``record`` says of them is ignored. Returns the record as stored.

        Raises:
            FencedError: if the claim is stale.
        """

    @abstractmethod
    def heartbeat(self, claim: Claim, look: str | None = None) -> None:
        """Show that the owner lives; changes nothing but the beat, and what people read: heartbeat and what is seen.

        Args:
            claim: whose.
            look: what the owner sees of the step under way, as JSON; None for nothing new. It is gone as soon as
                another claims, or the environment is given back.

        Raises:
            FencedError: if the claim is stale.
        """

    @abstractmethod
    def release(self, claim: Claim) -> None:
        """Give the environment back: no owner, and phase ``idle`` unless it is ``held``. Stale claims are ignored.

        No replica goes by it. Where an autoscaler looks after them, the active colour is asked for no more than its
        usual number from now on, and what grew beyond it is the autoscaler's to keep or to take away.
        """

    @abstractmethod
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        """Make ``colour`` run exactly ``image`` with so many replicas. Deploying what already runs changes nothing.

        Returns when the target has accepted the wish; ``readiness`` tells when it has come true.

        Raises:
            FencedError: if the claim is stale.
            TargetError: if the target refuses or cannot be reached.
        """

    @abstractmethod
    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        """Change the number of replicas; the ones that go finish what they have accepted. 0 makes the colour cold.

        Raises:
            FencedError: if the claim is stale.
            TargetError: if the colour was never deployed, or the target cannot be reached.
        """

    @abstractmethod
    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        """Give each production colour its percent of user traffic (whole numbers, sum 100) and wait until it is so.

        Raises:
            FencedError: if the claim is stale.
            TargetError: if the weights do not sum to 100, or the router does not take them up in time.
        """

    @abstractmethod
    def readiness(self, environment: Environment, colour: Colour) -> Readiness:
        """How far the replicas of a colour are."""

    @abstractmethod
    def observed(self, environment: Environment) -> Observed:
        """What the router and the replicas really are, read from them and not from the record."""

    @abstractmethod
    def traffic(self, environment: Environment) -> TrafficSnapshot:
        """Cumulative counters per backend as the router saw them; latency as the replicas measured it themselves."""

    @abstractmethod
    def url(self, environment: Environment) -> str:
        """Where users reach an environment, without a trailing slash."""

    @abstractmethod
    def probe_url(self, environment: Environment, colour: Colour) -> str:
        """The internal route to one colour, counted as source ``probe``; nobody outside can reach it."""

    @abstractmethod
    def probe_token(self, environment: Environment, colour: Colour) -> str:
        """What requests on that route prove by that they are the probe's; who cannot is counted as a user, or refused.

        It is made with each release. Empty if nothing was deployed, or by a pipeline that made none.
        """

    @abstractmethod
    def default_replicas(self, environment: Environment) -> int:
        """How many replicas a colour has when it carries the environment's traffic."""

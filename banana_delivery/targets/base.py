"""What the pipeline needs from where releases run.

A target keeps one durable, fenced ``RolloutRecord`` per environment. Whoever wants to change an environment claims it
first; every change carries the claim and fails with ``FencedError`` once somebody else has taken over. So a process
that was thought dead and wakes up, or a second pipeline, cannot move traffic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

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


class ReleaseTarget(ABC):
    """Where releases run. Every implementation passes ``tests/contract/test_release_target.py``.

    Rules that hold for all of them:
        - ``record`` of an environment that was never used is ``RolloutRecord(environment=...)``.
        - A mutation under a stale claim raises ``FencedError`` and changes nothing.
        - ``deploy``, ``scale`` and ``set_weights`` update the record in the same breath.
        - No replica is taken from under users, whether the record or only the router knows of them: a colour that the
          router sends users to is neither scaled to 0 nor turned into another release.
        - Methods may block for seconds (a router reload), never for minutes: waiting is the caller's, by ``readiness``.
    """

    @abstractmethod
    def record(self, environment: Environment) -> RolloutRecord:
        """The durable record of an environment.

        Raises:
            TargetError: if the target cannot be reached or its record cannot be read.
        """

    @abstractmethod
    def claim(self, environment: Environment, owner: str, *, takeover: bool = False) -> Claim:
        """Become the owner of an environment.

        The same owner may claim again and keeps its generation. An owner whose heartbeat is older than the target's
        ``stale_after_seconds`` may be replaced; ``takeover`` replaces a living one too. Both bump the generation.

        Raises:
            ClaimRefusedError: if another owner's heartbeat is fresh and ``takeover`` is not set.
        """

    @abstractmethod
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        """Store what the owner knows (phase, candidate, active, plan, baseline, scale_down_at, note) and show life.

        ``environment``, ``generation``, ``owner``, ``heartbeat``, ``deployments`` and ``weights`` are the target's own:
        whatever ``record`` says of them is ignored. Returns the record as stored.

        Raises:
            FencedError: if the claim is stale.
        """

    @abstractmethod
    def heartbeat(self, claim: Claim) -> None:
        """Show that the owner lives; changes nothing but the heartbeat.

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
    def default_replicas(self, environment: Environment) -> int:
        """How many replicas a colour has when it carries the environment's traffic."""

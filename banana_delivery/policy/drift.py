"""What is observed of an environment, and how it differs from its record: what is wrong, and when that is believed.

A difference is believed once it was seen for some time by the observer's own clock, at two looks or more, while nobody
claimed the environment in between: a restart, a rolling node and an autoscaler at work pass by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import Field

from banana_delivery.policy.model import COLOURS, Colour, Environment, Model, Phase, RolloutRecord, StoredRecord

LOOK_AGAIN_SECONDS = 2.0
"""What a person changed stays so; a router or an autoscaler at work is done by then."""
RESTART_SECONDS = 15.0
"""Replicas that none of their own answers may be restarting; users are told to wait no longer than this."""
PARTLY_SECONDS = 120.0
"""Some replicas are missing, and others answer: a node that is drained takes its time."""
AWAY_SECONDS = 60.0
"""A target that does not answer says nothing about users, who do not need it."""
MOST_BETWEEN_LOOKS = 60.0
"""Seconds that one look may add: in a longer gap nobody looked, and a clock that began anew says nothing."""
QUIET_SECONDS = 3600.0
"""Whatever comes back later than this is something new."""
WORSE = 0.005
"""Share of the users by which it must have got worse to be told again."""


@dataclass(frozen=True)
class Observed:
    """What really is, whatever the record says; a difference that the pipeline did not make is a hand edit.

    Attributes:
        weights: percent of user traffic by colour, as the router has it.
        replicas: replicas asked for by colour, as the target has it.
        digests: image digest by colour, as the target has it; absent for a colour that was never deployed.
        shares: percent of user traffic by colour that the target can really give for these weights; empty where the
            router is exact.
        ready: replicas by colour that take requests now; absent means none.
        reported: digest by colour that replicas say they are, only where it is another than the target has.
        route: why no user reaches any colour, in one sentence; empty if there is a route.
    """

    weights: dict[Colour, int]
    replicas: dict[Colour, int]
    digests: dict[Colour, str]
    shares: dict[Colour, float] = field(default_factory=dict)
    ready: dict[Colour, int] = field(default_factory=dict)
    reported: dict[Colour, str] = field(default_factory=dict)
    route: str = ""

    def share(self, colour: Colour) -> float:
        """The part of all users, 0 to 1, that is sent to a colour."""
        split: Mapping[Colour, float] = self.shares if any(self.shares.values()) else self.weights
        total = sum(split.values())
        return split.get(colour, 0) / total if total and not self.route else 0.0

    def answers(self, colour: Colour) -> bool:
        """Whether anything answers there, whatever it is."""
        return self.ready.get(colour, 0) > 0 or colour in self.reported


class DriftKind(StrEnum):
    """What differs."""

    ROUTE = "route"
    WEIGHTS = "weights"
    REPLICAS = "replicas"
    DIGEST = "digest"
    SILENT = "silent"
    AWAY = "away"


class Drift(Model):
    """One difference.

    Attributes:
        kind: what differs.
        colour: where; None for the environment as a whole.
        share: of all users, 0 to 1, that fail because of it.
        mendable: whether the record says enough to make it good.
        settles: seconds for which it may be a transient.
        sentence: for a person.
    """

    kind: DriftKind
    colour: Colour | None = None
    share: float = 0.0
    mendable: bool = False
    settles: float = LOOK_AGAIN_SECONDS
    sentence: str

    @property
    def key(self) -> str:
        """The same for the same difference at the next look."""
        return f"{self.kind}/{self.colour or ''}"

    @property
    def is_edit(self) -> bool:
        """Whether somebody must have changed something, other than replicas that fall silent by themselves."""
        return self.kind not in {DriftKind.SILENT, DriftKind.AWAY}

    @property
    def is_patient(self) -> bool:
        """Whether no user feels it, since others answer."""
        return self.kind is DriftKind.SILENT and not self.share


def detect_drift(record: RolloutRecord, observed: Observed) -> str:
    """One sentence about what somebody else changed; empty if everything is as the pipeline left it.

    Replicas that fall silent by themselves are judged by their traffic, like any release.
    """
    return next((drift.sentence for drift in find_drift(record, observed) if drift.is_edit), "")


def find_drift(record: RolloutRecord, observed: Observed) -> tuple[Drift, ...]:
    """How an environment differs from its record; the sum of their shares is what fails.

    At rest the traffic belongs to the active colour, whatever a delivery that ended badly wrote down last.
    """
    colours = [found for colour in COLOURS[record.environment] for found in _at(record, observed, colour)]
    return (*colours, *_routing(record, observed))


def failing(findings: Iterable[Drift]) -> float:
    """The share of all users that fails, 0 to 1."""
    return min(1.0, sum(found.share for found in findings))


def is_at_rest(record: RolloutRecord) -> bool:
    """Whether nobody has the environment, and no person decided that nothing may touch it."""
    return record.owner is None and record.phase is Phase.IDLE


def is_as_recorded(record: RolloutRecord, observed: Observed, colour: Colour) -> bool:
    """Whether a colour answers, and nothing but what the record says."""
    deployment = record.deployments.get(colour)
    right = deployment is not None and observed.digests.get(colour) == deployment.image.digest
    return right and observed.ready.get(colour, 0) > 0 and colour not in observed.reported


def refuge(record: RolloutRecord, observed: Observed) -> Colour | None:
    """The colour that answers, where users are sent to one that does not; None if they are safe, or nobody answers.

    Never one whose release was taken out of production.
    """
    if record.environment is not Environment.PRODUCTION:
        return None
    lost = [colour for colour in Colour if observed.share(colour) and not observed.answers(colour)]
    unrouted = record.active is not None and not any(map(observed.share, Colour))
    if not lost and not unrouted:
        return None
    fit = [colour for colour in COLOURS[record.environment] if colour not in lost and _is_fit(record, observed, colour)]
    return record.active if record.active in fit else next(iter(fit), None)


def _is_fit(record: RolloutRecord, observed: Observed, colour: Colour) -> bool:
    deployment = record.deployments.get(colour)
    if deployment is None or not deployment.replicas or not is_as_recorded(record, observed, colour):
        return False
    bad = {one.bad.digest for one in record.pending}
    return deployment.image.version != record.rolled_back and deployment.image.digest not in bad


def _at(record: RolloutRecord, observed: Observed, colour: Colour) -> Iterator[Drift]:
    """What is wrong with the replicas of one colour."""
    deployment = record.deployments.get(colour)
    if deployment is None:
        return
    wanted, there, ready = deployment.replicas, observed.replicas.get(colour, 0), observed.ready.get(colour, 0)
    lost = 0.0 if observed.answers(colour) else observed.share(colour)
    if there != wanted:
        yield Drift(
            kind=DriftKind.REPLICAS,
            colour=colour,
            share=lost,
            # Nobody's replicas are taken away: a person who added some at night had a reason.
            mendable=there < wanted,
            sentence=f"{colour} has {there} replicas instead of {wanted}.",
        )
    elif ready < wanted:
        yield Drift(
            kind=DriftKind.SILENT,
            colour=colour,
            share=lost,
            mendable=True,
            settles=PARTLY_SECONDS if ready else RESTART_SECONDS,
            sentence=f"{colour} is asked for {wanted} replicas, and {ready or 'none'} of them answer.",
        )
    said, ours = observed.reported.get(colour) or observed.digests.get(colour), deployment.image.digest
    if said is not None and said != ours:
        yield Drift(
            kind=DriftKind.DIGEST,
            colour=colour,
            mendable=wanted > 0,
            sentence=f"{colour} runs {said[:19]} instead of {ours[:19]}.",
        )


def _routing(record: RolloutRecord, observed: Observed) -> Iterator[Drift]:
    """What is wrong with the way of the users to the colours."""
    served = record.active is not None
    if observed.route:
        if served:
            yield Drift(kind=DriftKind.ROUTE, share=1.0, mendable=True, sentence=observed.route)
        return
    due = record.resting_weights if is_at_rest(record) and served else record.weights
    wrong = {colour: due.get(colour, 0) for colour in COLOURS[record.environment]}
    wrong = {colour: weight for colour, weight in wrong.items() if observed.weights.get(colour, 0) != weight}
    if not wrong:
        return
    nobody = served and not any(map(observed.share, Colour))
    stray = [observed.share(colour) for colour in wrong if _is_empty(record, observed, colour)]
    said = " ".join(
        f"{colour} has {observed.weights.get(colour, 0)} % of the traffic instead of {weight} %."
        for colour, weight in wrong.items()
    )
    yield Drift(
        kind=DriftKind.WEIGHTS,
        share=1.0 if nobody else sum(stray),
        mendable=served,
        sentence=said,
    )


def _is_empty(record: RolloutRecord, observed: Observed, colour: Colour) -> bool:
    """Whether nothing runs at a colour, and nothing should: whoever is sent there fails by the weights alone."""
    deployment = record.deployments.get(colour)
    cold = deployment is not None and deployment.replicas == 0 == observed.replicas.get(colour, 0)
    return deployment is None or (cold and not observed.answers(colour))


class News(StrEnum):
    """What is to be told."""

    FOUND = "found"
    WORSE = "worse"
    MADE_GOOD = "made_good"
    OVER = "over"


class DriftMemory(StoredRecord):
    """What the observer remembers from look to look; small enough for a sensor's cursor.

    Attributes:
        looked_at: the observer's monotonic clock at the last look, seconds.
        generation: of the environment's claims, at the last look.
        lasted: seconds for which each difference has been seen, by its key.
        since: when what was told began, seconds since the epoch, for people; None if nothing is told.
        told: share of the users that people were told fails.
        times: how often something was found and made good since it was last quiet for long.
        quiet: seconds without any difference.
    """

    looked_at: float = 0.0
    generation: int = 0
    lasted: dict[str, float] = Field(default_factory=dict)
    since: float | None = None
    told: float = 0.0
    times: int = 0
    quiet: float = 0.0

    def believed(self, findings: Sequence[Drift]) -> tuple[Drift, ...]:
        """Those of the present look that are no transients."""
        return tuple(found for found in findings if self.lasted.get(found.key, 0.0) >= found.settles)


def follow(memory: DriftMemory, findings: Sequence[Drift], generation: int, monotonic: float) -> DriftMemory:
    """Take one more look into account.

    Args:
        memory: what the last call returned; ``DriftMemory()`` at first.
        findings: of this look.
        generation: of the environment's claims: who claimed it in between may have been at work.
        monotonic: the observer's clock that never goes back, seconds from anywhere; may begin anew with a process.
    """
    passed = min(max(0.0, monotonic - memory.looked_at), MOST_BETWEEN_LOOKS)
    undisturbed = generation == memory.generation
    lasted = {
        found.key: memory.lasted[found.key] + passed
        if found.key in memory.lasted and (undisturbed or not found.is_edit)
        else 0.0
        for found in findings
    }
    quiet = 0.0 if findings else memory.quiet + passed
    times = 0 if quiet > QUIET_SECONDS else memory.times
    return memory.replace(looked_at=monotonic, generation=generation, lasted=lasted, quiet=quiet, times=times)


def news(
    memory: DriftMemory, findings: Sequence[Drift], left: Sequence[Drift] | None, wall: float
) -> tuple[DriftMemory, News | None]:
    """What is to be told about a look.

    Args:
        memory: as ``follow`` returned it.
        findings: of this look, before anything was done about them.
        left: what was left after it was made good; None if nothing was done about them.
        wall: seconds since the epoch, for people.

    Returns:
        What to keep, and what is to be told now, if anything: one and the same difference once, and that it is over.
    """
    believed = memory.believed(findings)
    fails = failing(believed)
    if memory.since is None:
        if not believed:
            return memory, None
        if left is None or left:
            return memory.replace(since=wall, told=fails), News.FOUND
        times = memory.times + 1
        # Something may undo again and again what is made good; that is told the 1st, 2nd, 4th, 8th time.
        return memory.replace(times=times, lasted={}), None if times & (times - 1) else News.MADE_GOOD
    if not findings or (left is not None and not left):
        return memory.replace(since=None, told=0.0), News.OVER
    if fails > memory.told + WORSE:
        return memory.replace(told=fails), News.WORSE
    return memory, None

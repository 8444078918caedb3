"""Who may change an environment, and what a change may be: pure rules on the rollout record, shared by all targets.

Every function takes the record as it is and returns the record as it is to be, or raises. Storing it, and doing what
it says, is the target's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from banana_delivery.errors import ClaimOutdatedError, ClaimRefusedError, FencedError, TargetError
from banana_delivery.policy.model import COLOURS, Colour, Deployment, Environment, ImageRef, Phase, RolloutRecord
from banana_delivery.targets.base import Claim, Takeover

_TARGETS_OWN = ("environment", "generation", "owner", "beat", "heartbeat", "look", "deployments", "weights")


def claimed(
    record: RolloutRecord,
    owner: str,
    now: float,
    *,
    seen: RolloutRecord | None = None,
    takeover: Takeover | None = None,
) -> RolloutRecord:
    """The record once ``owner`` has it.

    Args:
        record: as it is.
        owner: who wants the environment.
        now: seconds since the epoch, for people.
        seen: the record that this was decided by; None for whatever is there.
        takeover: from whom it may be taken; None: from nobody.

    Raises:
        ClaimOutdatedError: if the record has changed since it was seen.
        ClaimRefusedError: if somebody else has the environment and ``takeover`` is not set.
        ValueError: if it is to be taken from somebody who was not seen.
    """
    if seen is None and takeover:
        raise ValueError(f"Whoever takes {record.environment} over has to say in which state it was judged.")
    if seen is not None and _as_judged(record, takeover) != _as_judged(seen, takeover):
        raise ClaimOutdatedError(
            f"The {record.environment} environment is not as it was when it was judged ({_difference(record, seen)}); "
            f"nothing was changed, look again."
        )
    if record.owner == owner and takeover is None:
        return alive(record, now)
    if record.owner is not None and takeover is None:
        raise ClaimRefusedError(
            f"The {record.environment} environment belongs to {record.owner}, which showed life at "
            f"{_clock_time(record.heartbeat)} by its own clock; wait until its delivery ends, or take over on purpose."
        )
    return alive(record.replace(owner=owner, generation=record.generation + 1, look=""), now)


def alive(record: RolloutRecord, now: float) -> RolloutRecord:
    """The record after a sign of life of its owner, at ``now`` by the owner's clock."""
    return record.replace(beat=record.beat + 1, heartbeat=now)


def _as_judged(record: RolloutRecord, takeover: Takeover | None) -> RolloutRecord:
    """What must not have moved: all of it where silence was judged, else everything but the signs of life."""
    return record if takeover is Takeover.SILENT else record.replace(beat=0, heartbeat=0.0, look="")


def _difference(record: RolloutRecord, seen: RolloutRecord) -> str:
    if (record.generation, record.owner) == (seen.generation, seen.owner):
        return f"{record.owner or 'somebody'} has worked on it since"
    if record.owner:
        return f"{record.owner} has it now, generation {record.generation} after {seen.generation}"
    return f"{seen.owner or 'somebody'} has given it back, generation {record.generation} after {seen.generation}"


def _clock_time(heartbeat: float) -> str:
    try:
        return datetime.fromtimestamp(heartbeat, UTC).strftime("%d %B %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{heartbeat:g}"


def claim_on(record: RolloutRecord) -> Claim:
    """The claim that the record's present owner holds.

    Raises:
        ValueError: if nobody owns it.
    """
    if record.owner is None:
        raise ValueError(f"Nobody owns the {record.environment} environment.")
    return Claim(environment=record.environment, owner=record.owner, generation=record.generation)


def check(record: RolloutRecord, claim: Claim) -> None:
    """Let a change pass only under the claim that is in force.

    Raises:
        FencedError: if somebody else has taken over since the claim was made, or it was given back.
    """
    if (record.generation, record.owner) != (claim.generation, claim.owner):
        holder = f"{record.owner} has taken it over" if record.owner else "it was given back"
        raise FencedError(
            f"{claim.owner} no longer owns the {claim.environment} environment ({holder}, generation "
            f"{record.generation} after {claim.generation}); nothing was changed."
        )


def written(record: RolloutRecord, claim: Claim, wanted: RolloutRecord, now: float) -> RolloutRecord:
    """The record with what the owner knows, and the target's own fields as they are.

    Raises:
        FencedError: if the claim is stale.
    """
    check(record, claim)
    own = {name: getattr(record, name) for name in _TARGETS_OWN}
    return alive(wanted.replace(**own), now)


def heartbeat(record: RolloutRecord, claim: Claim, now: float, look: str | None = None) -> RolloutRecord:
    """The record after a sign of life.

    Args:
        record: as it is.
        claim: of whoever lives.
        now: by the owner's clock.
        look: what the owner sees; None for nothing new.

    Raises:
        FencedError: if the claim is stale.
    """
    check(record, claim)
    return alive(record if look is None else record.replace(look=look), now)


def released(record: RolloutRecord, claim: Claim) -> RolloutRecord:
    """The record without an owner; unchanged if the claim is stale, since then it is not the holder's to give back."""
    try:
        check(record, claim)
    except FencedError:
        return record
    phase = Phase.DRIFTED if record.phase is Phase.DRIFTED else Phase.IDLE
    return record.replace(owner=None, phase=phase, look="")


def deployed(
    record: RolloutRecord, colour: Colour, image: ImageRef, replicas: int, routed: Mapping[Colour, float]
) -> RolloutRecord:
    """The record once ``colour`` is told to run ``image``. Staging's sole colour always carries all of its traffic.

    Args:
        record: as it is.
        colour: which set of replicas.
        image: the release.
        replicas: how many.
        routed: percent of the users by colour as the router has it, whatever the record says.

    Raises:
        TargetError: if the change would take replicas from under users, or the environment has no such colour.
    """
    _check_colour(record.environment, colour)
    before = record.deployments.get(colour)
    carries = _carried(record, colour, routed)
    if before and before.image.digest != image.digest and carries:
        raise TargetError(
            f"{colour.capitalize()} runs version {before.image.version} and carries {carries:g} % of "
            f"{record.environment}'s traffic; move that away before you deploy version {image.version} there."
        )
    weights = {Colour.SOLE: 100} if record.environment is Environment.STAGING else record.weights
    return _with_replicas(record.replace(weights=weights), colour, image, replicas, routed)


def scaled(record: RolloutRecord, colour: Colour, replicas: int, routed: Mapping[Colour, float]) -> RolloutRecord:
    """The record once ``colour`` is told to run so many replicas.

    Args:
        record: as it is.
        colour: which set of replicas.
        replicas: how many.
        routed: percent of the users by colour as the router has it, whatever the record says.

    Raises:
        TargetError: if the colour was never deployed, or would go cold while it carries users.
    """
    _check_colour(record.environment, colour)
    before = record.deployments.get(colour)
    if before is None:
        raise TargetError(never_deployed(record.environment, colour))
    return _with_replicas(record, colour, before.image, replicas, routed)


def weighted(record: RolloutRecord, weights: dict[Colour, int]) -> RolloutRecord:
    """The record once the traffic is split so; a colour that is left out gets 0.

    Before the first release there is no colour to go back to, so there, and only there, all weights may be 0.

    Raises:
        TargetError: if the weights do not sum to 100, or users would be sent to a colour without replicas.
    """
    for colour in weights:
        _check_colour(record.environment, colour)
    split = {colour: weights.get(colour, 0) for colour in COLOURS[record.environment]}
    nobody_served_yet = record.active is None and not any(split.values())
    if any(weight < 0 for weight in split.values()) or (sum(split.values()) != 100 and not nobody_served_yet):
        said = ", ".join(f"{colour} {weight}" for colour, weight in split.items())
        raise TargetError(
            f"Weights of {record.environment} must be whole numbers from 0 that sum to 100, not {said}; "
            f"nothing was changed."
        )
    for colour, weight in split.items():
        deployment = record.deployments.get(colour)
        if weight and (deployment is None or deployment.replicas == 0):
            raise TargetError(
                f"{colour.capitalize()} has no replicas in {record.environment}, so it cannot carry {weight} % of its "
                f"traffic; deploy or scale it first."
            )
    return record.replace(weights=split)


def never_deployed(environment: Environment, colour: Colour) -> str:
    """The sentence for a colour that nobody has used yet."""
    return f"Nothing was ever deployed on the {colour} colour of {environment}; deploy a version there first."


def _check_colour(environment: Environment, colour: Colour) -> None:
    if colour not in COLOURS[environment]:
        has = " and ".join(COLOURS[environment])
        raise TargetError(f"The {environment} environment has no colour {colour}; it has {has}.")


def _carried(record: RolloutRecord, colour: Colour, routed: Mapping[Colour, float]) -> float:
    """Percent of production's users that a colour has, by the record or by the router, whichever says more."""
    if record.environment is not Environment.PRODUCTION:
        return 0.0
    return max(record.weights.get(colour, 0), routed.get(colour, 0))


def _with_replicas(
    record: RolloutRecord, colour: Colour, image: ImageRef, replicas: int, routed: Mapping[Colour, float]
) -> RolloutRecord:
    if replicas < 0:
        raise TargetError(f"A colour cannot have {replicas} replicas; ask for 0 or more.")
    if replicas == 0 and (carries := _carried(record, colour, routed)):
        raise TargetError(
            f"{colour.capitalize()} carries {carries:g} % of {record.environment}'s traffic, so it "
            f"cannot be scaled to 0; move the traffic away first."
        )
    deployment = Deployment(image=image, replicas=replicas)
    return record.replace(deployments={**record.deployments, colour: deployment})

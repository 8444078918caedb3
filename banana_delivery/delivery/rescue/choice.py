"""Which release a rollback takes out, and which one serves instead: never one that was not released before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from banana_delivery.errors import GoneAlreadyError, NothingToRollBackError
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision
from banana_delivery.policy.gate import standing_block
from banana_delivery.policy.model import ImageRef, Outcome, Phase, RolloutRecord
from banana_delivery.policy.outcomes import is_revoked
from banana_delivery.runs.audit_log import AuditLog

LOG = logging.getLogger(__name__)
History = Callable[[], AuditLog | None]
"""Opens the audit trail; None while it is away. Asked only where the record does not say enough: it may hang."""
Standing = Callable[[Iterable[ManualDecision]], tuple[ManualDecision, ...]]
"""Of some decisions those that have not expired."""


class Sides(NamedTuple):
    """The two ends of a rollback.

    Attributes:
        bad: has to go, and is revoked.
        good: serves instead, or does already while the bad one is on its way; None if nothing did before.
    """

    bad: ImageRef
    good: ImageRef | None


def choose_sides(
    production: RolloutRecord,
    history: History,
    *,
    version: str = "",
    digest: str = "",
    to: str = "",
    standing: Standing = tuple,
) -> Sides:
    """What goes and what comes.

    Args:
        production: its record.
        history: knows what was released before, where the record does not.
        version: what has to go; empty for whatever is under way or else in production.
        digest: the same by image.
        to: the version that is to serve; empty for the one before.
        standing: of some decisions those that have not expired.

    Raises:
        GoneAlreadyError: if the image that has to go is not in production.
        NothingToRollBackError: for any other reason, in one sentence.
    """
    live, candidate = production.live, production.candidate
    under_way = _is_under_way(production, version, digest)
    if to and (live is None or live.version != to):
        return _sides_to(production, history, version, digest, to, standing)
    if under_way and candidate:
        return Sides(candidate, live)
    begun = _begun(production)
    if begun and version in {"", begun.bad.version} and digest in {"", begun.bad.digest}:
        return begun
    live = _named(live, version, digest)
    if to:
        raise NothingToRollBackError(f"Version {to} serves production already; nothing was changed.")
    if production.rolled_back and not (version or digest):
        raise NothingToRollBackError(
            f"Version {production.rolled_back} was rolled back already, and version {live.version} serves; nothing "
            f"was changed. To take that one out too, type: {commands.rollback(live.version)}"
        )
    good = _release_before(production, history, live)
    if good is None:
        raise NothingToRollBackError(
            "Production has no release before the present one to go back to; deliver a good version instead."
        )
    return Sides(live, good)


def _begun(production: RolloutRecord) -> Sides | None:
    """A rollback that somebody began, and whose users may not be back: whoever types it again means that one."""
    intent, live = production.intent, production.live
    if intent is None or intent.seconds is not None or live is None:
        return None
    if intent.good is None or live.digest != intent.good.digest or live.digest == intent.bad.digest:
        return None
    return Sides(intent.bad, intent.good)


def previous_release(
    attempts: Iterable[AttemptRecord],
    live_digest: str,
    gone: Collection[str] = (),
    is_taken_out: Callable[[str], bool] = lambda _: False,
) -> AttemptRecord | None:
    """The newest release of another digest whose version was not revoked since.

    Args:
        attempts: the whole audit trail, newest first; read only as far as it takes.
        live_digest: what production serves now.
        gone: versions that are revoked though the audit trail does not say so yet.
        is_taken_out: whether all that is known of a version revokes it; one that was late may stand after that.
    """
    revoked = set(gone)
    for attempt in attempts:
        if attempt.revoked:
            revoked.add(attempt.version)
        elif attempt.outcome is Outcome.RELEASED and attempt.digest != live_digest and attempt.version not in revoked:
            if not is_taken_out(attempt.version):
                return attempt
            revoked.add(attempt.version)
    return None


def _named(live: ImageRef | None, version: str, digest: str) -> ImageRef:
    """What is live, if it is what was named."""
    if digest and (live is None or live.digest != digest):
        raise GoneAlreadyError(f"{digest[:19]} is not in production any more; nothing was changed.")
    if version and (live is None or live.version != version):
        serving = f"version {live.version} is" if live else "nothing is"
        raise NothingToRollBackError(f"Version {version} is not in production, {serving}; nothing was changed.")
    if live is None:
        raise NothingToRollBackError("Production serves nothing yet, so there is nothing to go back from.")
    return live


def _sides_to(
    production: RolloutRecord, history: History, version: str, digest: str, to: str, standing: Standing
) -> Sides:
    """What serves goes, and a release that somebody named comes; a release under way is fenced off, not revoked."""
    candidate = production.candidate
    if candidate and version == candidate.version and _is_under_way(production, version, digest):
        serving = production.live.version if production.live else "none"
        raise NothingToRollBackError(
            f"Version {version} is on its way and version {serving} serves; nothing was changed. First type: "
            f"{commands.rollback(version)}, then: {commands.rollback_to(to)}"
        )
    good = _known_release(production, history, to, standing)
    return Sides(_named(production.live, version, digest), good)


def _known_release(production: RolloutRecord, history: History, to: str, standing: Standing) -> ImageRef:
    """The image of a version that was in production and may be again."""
    previous = production.previous
    if previous and previous.version == to:
        return previous
    if any(one.bad.version == to for one in production.pending):
        raise NothingToRollBackError(
            f"Version {to} was just rolled back, which is not on record yet; nothing was changed. Look at it with: "
            f"{commands.status()}"
        )
    audit_log = history()
    if audit_log is None:
        known = f"version {previous.version}" if previous else "none"
        raise NothingToRollBackError(
            f"Whether version {to} was ever in production cannot be looked up, since the audit trail does not answer; "
            f"nothing was changed. The record of production itself knows {known} to go back to."
        )
    attempts = audit_log.attempts(to)
    released = next((one for one in attempts if one.outcome is Outcome.RELEASED), None)
    if released is None:
        raise NothingToRollBackError(
            f"Version {to} was never in production, so nobody can go back to it; nothing was changed. To release it, "
            f"type: {commands.deliver(to)}"
        )
    decisions = standing(audit_log.decisions(to))
    block = standing_block(to, released.digest, history=attempts, decisions=decisions, frozen=False)
    if block:
        raise NothingToRollBackError(f"{block.reason}, then: {commands.rollback_to(to)}")
    image = audit_log.image(to, released.digest)
    if image is None:
        raise NothingToRollBackError(
            f"The image of version {to}, {released.digest[:19]}, is not on record; nothing was changed. To deliver it "
            f"again, type: {commands.redeploy(to)}"
        )
    return image


def _release_before(production: RolloutRecord, history: History, live: ImageRef) -> ImageRef | None:
    if production.previous and production.previous.digest != live.digest:
        return production.previous
    audit_log = history()
    if audit_log is None:
        raise NothingToRollBackError(
            "The record of production names no release before the present one, and the audit trail does not "
            "answer; bring Dagster's database back, or deliver a good version."
        )
    # What was rolled back while the audit trail was away is not revoked there yet.
    gone = {production.rolled_back, *(one.bad.version for one in production.pending)}
    try:
        previous = previous_release(
            audit_log.each_attempt(), live.digest, gone, lambda version: is_revoked(audit_log.attempts(version))
        )
        known = audit_log.image(previous.version, previous.digest) if previous else None
        return known or _warm_release(production, audit_log, live, gone)
    except Exception as error:
        LOG.exception("The audit trail cannot be read.")
        raise NothingToRollBackError(
            "The record of production names no release before the present one, and the audit trail cannot be read "
            f"({type(error).__name__}); name the release to go back to: {commands.rollback_to('N')}"
        ) from error


def _warm_release(
    production: RolloutRecord, audit_log: AuditLog, live: ImageRef, gone: Collection[str]
) -> ImageRef | None:
    """The release beside the live one by the record of production, where the lines about it are not signed.

    After an upgrade nobody has adopted them yet, and users do not wait for that. Which image it is, the record says.
    """
    there = [one.image for one in production.deployments.values() if one.image.digest != live.digest]
    said = list(audit_log.said_attempts())
    revoked = {one.version for one in said if one.revoked} | set(gone)
    released = {one.digest for one in said if one.outcome is Outcome.RELEASED and one.version not in revoked}
    return next((image for image in there if image.digest in released), None)


def _is_under_way(production: RolloutRecord, version: str, digest: str) -> bool:
    candidate = production.candidate
    if candidate is None or (production.owner is None and production.phase is not Phase.DRIFTED):
        return False
    if production.live and production.live.digest == candidate.digest:
        return False  # What serves is being delivered once more; undoing that alone would leave it in production.
    return digest in {"", candidate.digest} and version in {"", candidate.version}

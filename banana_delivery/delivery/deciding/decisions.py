"""What people decide about versions and about production, put on record with who decided."""

from __future__ import annotations

import getpass
import os
import socket
from typing import NamedTuple

from banana_delivery.delivery.deciding.rehearsing import gate_after, on_record
from banana_delivery.delivery.deciding.wanted import why_unwanted
from banana_delivery.errors import GateError
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.policies.calendar import moment, outlasts, until_words
from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policy import commands
from banana_delivery.policy.approvals.withdrawn import HowFar, what_becomes_of
from banana_delivery.policy.asset_records import DecisionKind, ImageRecord, ManualDecision
from banana_delivery.policy.gate import CLAIMED, GateDecision, is_spent
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import ImageRef
from banana_delivery.quoting import one_line
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.expiry import unexpired
from banana_delivery.runs.evidence.reasons import stated
from banana_delivery.runs.instance import open_instance
from banana_delivery.runs.lifecycle import Run, Runs
from banana_delivery.settings import Settings
from banana_delivery.targets.sightings import sightings
from banana_delivery.waiting import Clock

_NOBODYS = ("system:serviceaccount:", "system:node:")
"""How Kubernetes' names of accounts begin that no person has."""


def claimed_by() -> str:
    """Who types, as far as this machine says: its user, whom nobody asked for a proof."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # A user without a name, as in a container.
        name = f"user {os.getuid()}"
    return f"{CLAIMED}{name} on {socket.gethostname()}"


def decided_by(user: str) -> str:
    """Who decides: whom the cluster says that he is, if it says so of a person.

    Args:
        user: by the cluster's word; empty if it has none. An account that several share, as a pod's, is no person.
    """
    if not user:
        return claimed_by()
    if user.startswith(_NOBODYS):
        return f"{claimed_by()}, with the account {user}"
    return f"{user} (Kubernetes user)"


class Decided(NamedTuple):
    """A decision, and what the gate says of it; None if that was not asked, or cannot be told here."""

    said: ManualDecision
    gate: GateDecision | None = None


def decide(
    settings: Settings,
    registry: ModelRegistry,
    clock: Clock,
    kind: DecisionKind,
    version: str,
    digest: str,
    reason: str,
    by: str = "",
    *,
    policy: ReleasePolicy | None = None,
    dry_run: bool = False,
) -> Decided:
    """Put a person's decision about one image of an existing version on record.

    An approval says whether a freeze kept its image out: then whoever decides has nothing to begin.

    Args:
        settings: where the audit trail is.
        registry: knows which versions exist.
        clock: dates it, for people.
        kind: approval or override.
        version: MLflow model version.
        digest: the beginning of the image's digest; empty for the version's latest image.
        reason: why, in one sentence.
        by: who says it; empty for whom this machine says.
        policy: by which the gate judges; None: it is not asked.
        dry_run: whether nothing is put on record.

    Raises:
        GateError: if there is no reason, or no such image.
        UnknownVersionError: if there is no such version.
        DagsterError: if it cannot be put on record.
    """
    if not reason.strip():
        raise GateError(f"An {kind} needs a reason, which the audit trail keeps; say why: --reason '...'")
    with open_instance(settings) as instance:
        log = AuditLog(instance, CodeLocation.of(settings))
        version = registry.describe(version).version
        said = _decision(log, clock, kind, version, digest, reason, by or claimed_by())
        gate = gate_after(settings, policy, log, clock, said) if policy else None
        frozen = kind is DecisionKind.APPROVAL and gate is not None and gate.frozen
        if frozen and (why := why_unwanted(registry, log, version, waited=True)):
            raise GateError(f"In a freeze this would begin nothing. {why}")
        return Decided(on_record(log, log.record_decision, said.replace(frozen=frozen), dry_run=dry_run), gate)


class Withdrawn(NamedTuple):
    """That decisions were taken back; which, the latest first; and how far each delivery is that has not ended."""

    said: ManualDecision
    taken_back: list[ManualDecision]
    deliveries: list[HowFar]

    @property
    def under_way(self) -> bool:
        """Whether a delivery may go by what was taken back, as far as it came before that."""
        return not {HowFar.BEGUN, HowFar.IN_PRODUCTION}.isdisjoint(self.deliveries)

    @property
    def sentences(self) -> list[str]:
        """What counts no more, and what becomes of deliveries of the version."""
        what = "; ".join(f"the {one.kind} of {one.by} ({one_line(one.reason)})" for one in self.taken_back)
        version = self.said.version
        return [f"of version {version}, no more counts {what}.", *what_becomes_of(version, self.deliveries)]


def withdraw(
    log: AuditLog,
    settings: Settings,
    clock: Clock,
    version: str,
    reason: str,
    by: str,
    *,
    seen: float | None = None,
    dry_run: bool = False,
) -> Withdrawn:
    """Put on record that nothing counts any more that was approved or overridden of a version.

    The registry is not asked, which may be away or have the version no more: this only keeps something out.

    Args:
        log: the audit trail.
        settings: how long decisions count.
        clock: dates it, for people.
        version: MLflow model version.
        reason: why, in one sentence.
        by: who says it, of whomever's decisions: whoever wants the version in may say so again.
        seen: when the latest of what a person saw was said; None: whatever counts is meant.
        dry_run: whether nothing is put on record.

    Raises:
        GateError: if there is no reason, nothing that counts, or something later than what was seen.
        EvidenceError: if there is no key to sign it with.
    """
    why = stated(reason)
    attempts = [*log.each_readable(version)]
    counting = unexpired(log.decisions(version), sightings(settings, clock), settings)
    taken_back = [one for one in counting if not is_spent(one, attempts)]
    if not taken_back:
        raise GateError(
            f"Nothing that anybody approved or overrode of version {version} counts now, so there is nothing to take "
            f"back; see: {commands.status()}"
        )
    if seen not in {None, taken_back[0].at}:
        raise GateError(
            f"What was shown as approved of version {version} is not what counts now; look what is now, and ask again."
        )
    said = ManualDecision(kind=DecisionKind.WITHDRAWAL, version=version, by=by, reason=why, at=clock.time())
    on_record(log, log.record_decision, said, dry_run=dry_run)
    # Asked afterwards: what begins from here on sees it.
    runs = Runs(log.instance, log.location)
    deliveries = [one for one in runs.unfinished() if log.location.version_of(one) == version]
    return Withdrawn(said, taken_back, [_how_far(log, runs, one) for one in deliveries])


def _how_far(log: AuditLog, runs: Runs, run: Run) -> HowFar:
    over = log.attempt_of(run.run_id, log.location.version_of(run))
    return HowFar.ENDS if over else runs.how_far(run)


def put_on_record(
    log: AuditLog, clock: Clock, kind: DecisionKind, version: str, digest: str, reason: str, by: str
) -> ManualDecision:
    """The same for a version that exists, in an audit trail that is open; what the gate says is asked afterwards.

    Raises:
        GateError: if there is no such image.
        EvidenceError: if there is no key to sign it with.
    """
    said = _decision(log, clock, kind, version, digest, reason, by)
    return on_record(log, log.record_decision, said, dry_run=False)


def _decision(
    log: AuditLog, clock: Clock, kind: DecisionKind, version: str, digest: str, reason: str, by: str
) -> ManualDecision:
    image = _decided(log, kind, version, digest)
    return ManualDecision(
        kind=kind, version=version, digest=image.digest, by=by, reason=reason.strip(), at=clock.time()
    )


def say_freeze(
    settings: Settings, clock: Clock, by: str, reason: str, until: str, *, frozen: bool, dry_run: bool = False
) -> FreezeRecord:
    """Put on record that nothing is to enter production any more, or that deliveries may again; it counts at once.

    Args:
        settings: where the audit trail is.
        clock: dates it.
        by: who says it.
        reason: why, in one sentence.
        until: when it ends by itself, as typed; empty for never.
        frozen: which of the two.
        dry_run: whether nothing is put on record.

    Raises:
        GateError: if there is no reason, or no such time.
        DagsterError: if it cannot be put on record.
    """
    said = _freeze(clock, by, reason, until, frozen=frozen)
    with open_instance(settings) as instance:
        return _freeze_on_record(AuditLog(instance, CodeLocation.of(settings)), said, dry_run=dry_run)


def freeze_as_shown(
    log: AuditLog, clock: Clock, by: str, reason: str, until: str, *, frozen: bool, seen: float | None, zone: str = ""
) -> FreezeRecord:
    """The same in an audit trail that is open; what is lifted has to be the freeze that a person saw.

    Args:
        log: the audit trail.
        clock: dates it.
        by: who says it.
        reason: why, in one sentence.
        until: when it ends by itself, as typed; empty for never.
        frozen: which of the two.
        seen: when the freeze was said that is to be lifted; None if there was none.
        zone: of the clock by which ``until`` was typed; empty for this machine's.

    Raises:
        GateError: if there is no reason, no such time, or another freeze than the one that was seen.
        EvidenceError: if there is no key to sign it with.
    """
    said, stands = _freeze(clock, by, reason, until, frozen=frozen, zone=zone), log.freeze()
    if not frozen and (stands is None or not stands.frozen or stands.at != seen):
        raise GateError("The freeze that was shown is not the one that stands; look what is now, and ask again.")
    return _freeze_on_record(log, said)


def _freeze(clock: Clock, by: str, reason: str, until: str, *, frozen: bool, zone: str = "") -> FreezeRecord:
    why = stated(reason)
    try:
        end = moment(until, clock.time(), zone) if until.strip() else None
    except ValueError as error:
        raise GateError(str(error)) from None
    return FreezeRecord(frozen=frozen, by=by, reason=why, at=clock.time(), until=end)


def _freeze_on_record(log: AuditLog, said: FreezeRecord, *, dry_run: bool = False) -> FreezeRecord:
    before = log.freeze()
    if before and outlasts(before, said):
        raise GateError(
            f"{before.by} froze deliveries{until_words(before.until)} already, which lasts longer; to end that "
            f"first, type: {commands.unfreeze()}"
        )
    return on_record(log, log.record_freeze, said, dry_run=dry_run)


def _decided(log: AuditLog, kind: DecisionKind, version: str, digest: str) -> ImageRef:
    """The image that a decision is about.

    An approval has the version's latest image delivered, so one of another image would let nothing in.
    """
    wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    latest = ""
    for image in log.all(ImageRecord, "image", version):
        latest = latest or image.ref.digest
        if not image.ref.digest.startswith(wanted):
            continue
        if kind is DecisionKind.APPROVAL and image.ref.digest != latest:
            raise GateError(
                f"Version {version} is {latest[:19]} by now, and what is delivered is that one: an approval of "
                f"{image.ref.digest[:19]} would let nothing in. Look at the report of {latest[:19]}, and approve that, "
                f"type: {commands.approve(version)}"
            )
        return image.ref
    which = f"no image {digest[:19]}" if digest else "no image yet that a decision could be about"
    raise GateError(f"Version {version} has {which} on record; deliver it first, type: {commands.deliver(version)}")

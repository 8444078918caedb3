"""What a person does from the command line: launching a delivery and following it to its end, and deciding."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from banana_delivery.delivery.ending.ended import Ended
from banana_delivery.delivery.ending.remote import checked_server, follow, launch
from banana_delivery.delivery.live.following import Following, Steps, steps_of
from banana_delivery.errors import BadSettingsError, BananaDeliveryError, GateError
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.names import ACTOR_TAG, TRIGGER_TAG
from banana_delivery.platforms import platform
from banana_delivery.policies.calendar import moment, outlasts, until_words
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import DecisionKind, ImageRecord, ManualDecision
from banana_delivery.policy.gate import CLAIMED
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import ImageRef, Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.quoting import in_ci_log
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.settings import Settings
from banana_delivery.waiting import Clock

LONGEST_DELIVERY_SECONDS = 3600.0
_NOBODYS = ("system:serviceaccount:", "system:node:")
"""How Kubernetes' names of accounts begin that no person has."""


Asked = tuple[str, str, Sequence[str]]
"""The job, what triggered it, and which of its assets are wanted; none for all."""


@dataclass(frozen=True)
class Wish:
    """How somebody wants a delivery to be launched.

    Attributes:
        server: Dagster's pages, which are all that is asked; None for this machine's own stack.
        wait: whether to stay until it has ended.
        seconds: how long to stay at most.
        page: where what became of it is added, in Markdown.
    """

    server: str | None = None
    wait: bool = True
    seconds: float = LONGEST_DELIVERY_SECONDS
    page: Path | None = None


def deliver_one(settings: Settings, version: str, asked: Asked, console: Console, wish: Wish) -> int:
    """Run a job for one version, and show what it does and how it ended.

    Returns:
        The exit code that says how; 0 if nobody waits.

    Raises:
        DagsterError: if it was not launched, or nobody can tell how it ended.
    """
    job, trigger, assets = asked
    server, location = (
        settings.dagster_url if wish.server is None else checked_server(wish.server),
        CodeLocation.of(settings),
    )
    client = DagsterClient(server, location, settings.pages_token.get_secret_value())
    if wish.server is None:
        with open_instance(settings) as instance:
            ensure_partition(instance, version, location)
    run_id = launch(client, job, version, {TRIGGER_TAG: trigger, ACTOR_TAG: claimed_by()}, assets)

    def say(line: str) -> None:
        # Where a line is broken it could begin with what a CI server takes for an order.
        console.print(in_ci_log(line), soft_wrap=True, markup=False, highlight=False)

    url = f"{settings.pages_url or server}/runs/{run_id}"
    say(f"Version {version}: {url}")
    if not wish.wait:
        return 0
    # From elsewhere nobody but the pages is asked, which know of runs and not of what they see.
    steps = _steps(settings, run_id) if wish.server is None else lambda: None
    with Following(console, f"Delivering version {version}", steps, say):
        ended = follow(client, run_id, version, url, say, wish.seconds)
    say(ended.sentence)
    if wish.page:
        _add(ended, wish.page, say)
    return ended.exit_code


def _steps(settings: Settings, run_id: str) -> Steps:
    """Where what a run is at is looked up; nowhere if that is not set up here, since the delivery is not either."""
    try:
        _, target = platform(settings).parts(settings)
    except BananaDeliveryError:
        return lambda: None
    return steps_of(target, run_id)


def deliver_all(
    settings: Settings,
    numbered: Callable[[str], str],
    asked: Asked,
    versions: Sequence[str],
    console: Console,
    wish: Wish,
) -> int:
    """Run a job for one version after the other; a parked one lets the next have its turn, any other failure ends it.

    Args:
        settings: where Dagster is, and what of it is ours.
        numbered: asks the registry for a version, which may be its latest one.
        asked: what is to run.
        versions: as they were typed.
        console: where it is shown.
        wish: how.

    Returns:
        The exit code of the first that was not released; 0 if all were.
    """
    codes = []
    for typed in versions:
        if wish.server is not None and typed == "latest":
            raise BadSettingsError("With --server, name the version by its number: no registry is asked from here.")
        version = numbered(typed) if wish.server is None else typed
        codes.append(deliver_one(settings, version, asked, console, wish))
        if codes[-1] not in {0, CONSEQUENCES[Outcome.PARKED].exit_code}:
            break
    return next((code for code in codes if code), 0)


def _add(ended: Ended, page: Path, say: Callable[[str], None]) -> None:
    """What became of a delivery counts, whether its page can be written or not."""
    try:
        ended.write(page)
    except OSError as error:
        say(f"{page} cannot be written ({error.strerror or error}); it would have said the same.")


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


def decide(
    settings: Settings,
    registry: ModelRegistry,
    clock: Clock,
    kind: DecisionKind,
    version: str,
    digest: str,
    reason: str,
    by: str = "",
) -> ManualDecision:
    """Put a person's decision about one image of an existing version on record.

    Args:
        settings: where the audit trail is.
        registry: knows which versions exist.
        clock: dates it, for people.
        kind: approval or override.
        version: MLflow model version.
        digest: the beginning of the image's digest; empty for the version's latest image.
        reason: why, in one sentence.
        by: who says it; empty for whom this machine says.

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
        decision = ManualDecision(
            kind=kind,
            version=version,
            digest=_decided(log, version, digest).digest,
            by=by or claimed_by(),
            reason=reason.strip(),
            at=clock.time(),
        )
        log.record_decision(decision)
    return decision


def say_freeze(settings: Settings, clock: Clock, by: str, reason: str, until: str, *, frozen: bool) -> FreezeRecord:
    """Put on record that nothing is to enter production any more, or that deliveries may again; it counts at once.

    Args:
        settings: where the audit trail is.
        clock: dates it.
        by: who says it.
        reason: why, in one sentence.
        until: when it ends by itself, as typed; empty for never.
        frozen: which of the two.

    Raises:
        GateError: if there is no reason, or no such time.
        DagsterError: if it cannot be put on record.
    """
    if not reason.strip():
        raise GateError("It needs a reason, which the audit trail keeps; say why: --reason '...'")
    try:
        end = moment(until, clock.time()) if until.strip() else None
    except ValueError as error:
        raise GateError(str(error)) from None
    said = FreezeRecord(frozen=frozen, by=by, reason=reason.strip(), at=clock.time(), until=end)
    with open_instance(settings) as instance:
        log = AuditLog(instance, CodeLocation.of(settings))
        before = log.freeze()
        if before and outlasts(before, said):
            raise GateError(
                f"{before.by} froze deliveries{until_words(before.until)} already, which lasts longer; to end that "
                f"first, type: {commands.unfreeze()}"
            )
        log.record_freeze(said)
    return said


def _decided(log: AuditLog, version: str, digest: str) -> ImageRef:
    """The image that a decision is about."""
    wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    for image in log.all(ImageRecord, "image", version):
        if image.ref.digest.startswith(wanted):
            return image.ref
    which = f"no image {digest[:19]}" if digest else "no image yet that a decision could be about"
    raise GateError(f"Version {version} has {which} on record; deliver it first, type: {commands.deliver(version)}")

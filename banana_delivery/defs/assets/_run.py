"""What every asset is declared with and starts with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import isclass
from typing import Any, NoReturn, get_type_hints

import dagster as dg

from banana_delivery.delivery.deciding.rehearsing import gate_inputs
from banana_delivery.delivery.lease import Lease, Patience, refuse_if_held
from banana_delivery.delivery.live.ending import EndWatch, is_to_end
from banana_delivery.delivery.live.pausing import pause_watch
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import (
    DagsterError,
    DriftError,
    FencedError,
    GateError,
    MissingCheckpointError,
    RejectedModelError,
    TargetError,
    UnknownVersionError,
    redacted,
)
from banana_delivery.policies.document import ReleasePolicy, Rules
from banana_delivery.policies.lasting import wait_for_another
from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision
from banana_delivery.policy.gate import GateInputs, standing_override
from banana_delivery.policy.hindsight.would_have import Mode
from banana_delivery.policy.model import Environment, ImageRef, Outcome, Phase, RolloutRecord, StoredRecord
from banana_delivery.policy.outcomes import is_redeploy
from banana_delivery.policy.staged_versions import is_version
from banana_delivery.quoting import cited, in_log
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation, code_version, location_of, shared_key
from banana_delivery.runs.evidence.expiry import unexpired
from banana_delivery.runs.instance import refuse_without_slot
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.runs.policies import KeptPolicies
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.targets.sightings import owner_watch, sightings

GROUP = "delivery"
OWNERS = ["team:ml-platform"]
IO_MANAGER = "records"


REJECTIONS = (RejectedModelError, GateError, MissingCheckpointError, UnknownVersionError)
"""What is the version's own fault; everything else is an error of what it runs on."""


Declared = Callable[[CodeLocation], dg.AssetsDefinition]
"""An asset that becomes one where it is told its key, its partitions and its pool."""


def delivery_asset(
    *,
    kinds: set[str],
    description: str,
    deps: Sequence[str] = (),
    in_pool: bool = False,
    output_required: bool = True,
) -> Callable[[Callable[..., Any]], Declared]:
    """Make a function an asset of its name; the records among its parameters are the assets of their names.

    Args:
        kinds: what the pages show of it.
        description: the same.
        deps: assets that come before it without being read.
        in_pool: whether it waits for the one slot of deliveries.
        output_required: whether it always yields a record.
    """

    def declare(work: Callable[..., Any]) -> Declared:
        def build(location: CodeLocation) -> dg.AssetsDefinition:
            return dg.asset(
                key=location.key(work.__name__),
                ins={name: dg.AssetIn(key=location.key(name)) for name in _records(work)},
                deps=[location.key(name) for name in deps],
                partitions_def=location.partitions,
                pool=location.pool if in_pool else None,
                group_name=GROUP,
                owners=OWNERS,
                kinds=kinds,
                io_manager_key=IO_MANAGER,
                output_required=output_required,
                description=description,
                code_version=code_version(),
            )(work)

        return build

    return declare


def _records(work: Callable[..., Any]) -> list[str]:
    hints = get_type_hints(work)
    return [name for name, kind in hints.items() if isclass(kind) and issubclass(kind, StoredRecord)]


@dataclass(frozen=True)
class DeliveryRun:
    """One delivery under way, as seen by the asset that is running; what it needs to know is read once.

    Attributes:
        version: the model version: the run's partition.
        run_id: the Dagster run.
        attempts: all attempts at the version so far, newest first.
        decisions: what people decided about it.
        audit_log: where attempts are on record.
        recorder: puts this one on record.
        say: writes a line into the run's log.
        run: as Dagster knows it.
    """

    version: str
    run_id: str
    attempts: tuple[AttemptRecord, ...]
    decisions: tuple[ManualDecision, ...]
    audit_log: AuditLog
    recorder: AttemptRecorder
    say: Callable[[str], None]
    run: dg.DagsterRun

    @property
    def redeploying(self) -> bool:
        """Whether this delivery repeats a version that was released and never revoked."""
        return is_redeploy(self.attempts)

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.recorder.settings

    @property
    def policy(self) -> ReleasePolicy:
        """The rules that this delivery goes by, to its end."""
        return self.recorder.policy_file.policy

    @property
    def observes(self) -> bool:
        """Whether its policy only observes."""
        return self.policy.mode is Mode.OBSERVE

    @property
    def goes_to_production(self) -> bool:
        """Whether this is a whole delivery, rather than a few assets that somebody wants made."""
        wanted = self.run.asset_selection
        return not wanted or dg.AssetKey("production_release") in wanted

    @property
    def gate_inputs(self) -> GateInputs:
        """What a gate goes by beside the evidence."""
        return gate_inputs(
            self.settings, self.policy, self.audit_log, self.recorder.clock, self.attempts, self.decisions
        )

    def rules(self, production: RolloutRecord) -> Rules:
        """The rules that this delivery goes by: those it began with, where another process of it wrote them down."""
        kept = Rules.kept(production.rules)
        if kept and kept.run_id == self.run_id:
            return kept
        policy = self.policy
        return Rules(
            run_id=self.run_id, digest=policy.digest, plan=policy.plan, metrics=policy.metrics, mode=policy.mode
        )

    def override(self, ref: ImageRef) -> ManualDecision | None:
        """The person's word that lets an image in whatever speaks against it, if it stands."""
        return standing_override(
            ref.digest, history=self.attempts, decisions=self.decisions, approvers=self.policy.approvers
        )

    def fresh(self) -> DeliveryRun:
        """The same with what is on record now: under a claim on production nothing is revoked but by taking it over."""
        attempts = tuple(self.audit_log.attempts(self.version))
        return replace(self, attempts=attempts, decisions=_decisions(self.audit_log, self.version, self.recorder))

    def lease(self, target: ReleaseTarget, environment: Environment) -> Lease:
        """This run's hold on an environment."""
        watch = owner_watch(target, self.settings, self.recorder.clock)
        return Lease(
            target,
            environment,
            self.run_id,
            heartbeat_seconds=self.settings.heartbeat_seconds,
            is_silent=watch.is_silent,
            patience=self.patience,
            ends=self.ends,
        )

    @property
    def paused(self) -> Callable[[], str]:
        """Asks who keeps this delivery where it is."""
        return pause_watch(self.audit_log, self.recorder, self.run_id)

    @property
    def ends(self) -> Callable[[], object]:
        """Asks whether somebody ended this delivery, and ends it as a cancel does, which restores the traffic."""
        return EndWatch(lambda: is_to_end(self.audit_log, self.run_id), _end)

    @property
    def patience(self) -> Patience:
        """How this run waits for others."""
        settings = self.settings
        known = settings.rival_wait_seconds
        seconds = wait_for_another(self.policy.plan) if known is None else known
        ends = self.ends

        def sleep(seconds: float) -> None:
            ends()
            self.recorder.clock.sleep(seconds)

        return Patience(seconds, settings.stale_after_seconds, sleep, self.say)

    def already_live(self, target: ReleaseTarget, ref: ImageRef, basis: str = "") -> AttemptRecord | None:
        """The attempt that ends because production serves this digest; None if it does not, or is not at rest.

        It would be judged against itself, and whatever production suffers would be held against it.
        """
        production = target.record(Environment.PRODUCTION)
        live = production.live
        if live is None or live.digest != ref.digest or production.phase is Phase.DRIFTED or production.intent:
            return None
        return self.end(
            Outcome.RELEASED,
            f"Version {self.version} ({live.digest[:19]}) is in production already; nothing had to change.",
            digest=live.digest,
            previous_digest=live.digest,
            serving_version=self.version,
            basis=basis,
        )

    def refuse_if_held(self, target: ReleaseTarget) -> None:
        """Spare people a delivery that will be refused at the end of its road.

        Raises:
            DriftError: if an environment is held after a hand edit; one sentence: what, why, what to type.
        """
        for environment in Environment:
            try:
                refuse_if_held(target.record(environment))
            except DriftError:
                raise
            except TargetError as error:
                self.say(f"{environment.capitalize()} does not answer yet: {error}")

    def end(self, outcome: Outcome, reason: str, **facts: object) -> AttemptRecord:
        """Put the attempt on record, let the registry and the people know, and return what was recorded."""
        now = self.recorder.clock.time()
        attempt = Runs(self.audit_log.instance, self.audit_log.location).attempt(
            self.run, now, outcome, redacted(reason), **facts
        )
        self.recorder.record(self.audit_log, attempt)
        return attempt

    @contextmanager
    def records_failure(self, target: ReleaseTarget | None = None) -> Iterator[dict[str, object]]:
        """Put on record how the block fails before the op raises, and raise what Dagster shows as one sentence.

        Three ends are left to the status sensor, once the run has really ended: a cancel, an environment that was
        taken over, since whoever took it may say why, and what failed after production had become ours: that is no
        end of the release.

        Args:
            target: where the block may release; None if it releases nothing.

        Yields:
            What is on record of a failure besides; empty until the block fills it.
        """
        facts: dict[str, object] = {}
        try:
            self._refuse_strange_version()
            self._refuse_company()
            KeptPolicies(self.audit_log.instance).keep(self.policy.text)
            yield facts
        except dg.Failure:
            raise
        except FencedError as lost:
            raise dg.Failure(str(lost), allow_retries=False) from _fit_to_show(lost)
        except REJECTIONS as rejection:
            self.end(Outcome.REJECTED, str(rejection))
            raise dg.Failure(str(rejection), allow_retries=False) from _fit_to_show(rejection)
        except Exception as error:  # noqa: BLE001 -- it is raised again, as one sentence
            said = redacted(str(error) or repr(error))
            if target is None or not self._may_be_out(target):
                self.end(Outcome.ERROR, said, **facts)
            raise dg.Failure(said, allow_retries=False) from _fit_to_show(error)

    def _may_be_out(self, target: ReleaseTarget) -> bool:
        """Whether production serves what this run released, or does not say."""
        try:
            return target.record(Environment.PRODUCTION).promoted_by == self.run_id
        except TargetError:
            return True

    def _refuse_strange_version(self) -> None:
        """Anybody who may add a partition may call it what he likes; files, tags and commands are named after it.

        Raises:
            UnknownVersionError: if the partition is no version of MLflow.
        """
        if not is_version(self.version):
            raise UnknownVersionError(
                f"The partition {cited(self.version)} is no version number of MLflow, so there is nothing to deliver; "
                "delete it."
            )

    def _refuse_company(self) -> None:
        """Nobody else makes our assets, and no other delivery of ours runs beside this one.

        Raises:
            DagsterError: if that is not so on this instance.
        """
        instance, location = self.audit_log.instance, self.audit_log.location
        refuse_without_slot(instance, location.pool)
        for asset, other in location.also_made_by(instance).items():
            raise DagsterError(shared_key(asset, f"the code location {other}, too"))


def _end() -> NoReturn:
    """End a run as Dagster's own signal does."""
    raise dg.DagsterExecutionInterruptedError("Somebody ended this delivery.")


def _fit_to_show(error: BaseException) -> BaseException | None:
    """The error, whose whole chain Dagster stores and shows, or None if there is a secret anywhere in it."""
    one: BaseException | None = error
    while one is not None:
        if redacted(str(one)) != str(one):
            return None
        one = one.__cause__ or one.__context__
    return error


def start_run(context: dg.AssetExecutionContext, recorder: AttemptRecorder) -> DeliveryRun:
    """The delivery under way; its process signs in, so that its death is noticed."""
    location = CodeLocation.of(recorder.settings).called(location_of(context.run))
    Runs(context.instance, location).sign_in(context.run.run_id)
    audit_log, version = AuditLog(context.instance, location), str(context.partition_key)
    if is_to_end(audit_log, context.run.run_id):
        _end()
    return DeliveryRun(
        version=version,
        run_id=context.run.run_id,
        attempts=tuple(audit_log.attempts(version)),
        decisions=_decisions(audit_log, version, recorder),
        audit_log=audit_log,
        recorder=recorder,
        say=lambda line: context.log.info(in_log(redacted(line))),
        run=context.run,
    )


def _decisions(audit_log: AuditLog, version: str, recorder: AttemptRecorder) -> tuple[ManualDecision, ...]:
    """What people decided about a version and what has not expired."""
    memory = sightings(recorder.settings, recorder.clock)
    return unexpired(audit_log.decisions(version), memory, recorder.settings)

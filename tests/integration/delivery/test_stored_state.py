"""What version 0.1.0 stored is read as that version read it, and deliveries go on from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from banana_delivery.delivery import recovery
from banana_delivery.delivery.rescue.choice import previous_release
from banana_delivery.embedded.replicas import ReplicaSet
from banana_delivery.embedded.target import LocalTarget
from banana_delivery.evaluation.answers import AnswerCache
from banana_delivery.images.oci_layout.store import OciLayoutImages
from banana_delivery.notifications.outbox import Outbox
from banana_delivery.policy.asset_records import ArtifactRecord, AttemptRecord, ImageRecord, StagingRecord
from banana_delivery.policy.gate import GateDecision, evaluate_gate
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef, Outcome, Phase, RolloutRecord
from banana_delivery.policy.outcomes import is_redeploy, is_revoked
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.targets.kubernetes import endpoints
from banana_delivery.targets.kubernetes.api import KubernetesApi
from banana_delivery.targets.kubernetes.endpoints import EndpointRouting
from banana_delivery.targets.kubernetes.gateway import GatewayRouting
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from banana_delivery.targets.kubernetes.routing import SoleRouting
from banana_delivery.targets.kubernetes.target import EnvironmentCluster, KubernetesTarget
from serving.prediction_log.log import PredictionRecord
from serving.prediction_log.store import SqlPredictionStore, connect
from tests.support.claims import steal
from tests.support.cluster_objects import ClusterObjects
from tests.support.pipeline import PipelineHarness, open_pipeline
from tests.support.stored import AT_REST, HELD, MID_SHIFT, ROUTINGS, VARIANTS, Json, Stored, unpack

BETTER = 0.9999


class StoredImages(OciLayoutImages):
    """The image layout of the stored home; its tiny releases have no self-test."""

    def self_test(self, ref: ImageRef) -> dict[str, object]:
        return {"ok": True}


class Restored:
    """A world that goes on from stored state."""

    def __init__(self, pipeline: PipelineHarness, stored: Stored) -> None:
        self.pipeline = pipeline
        self.stored = stored
        self.images = StoredImages(stored.home / "images")
        self.local = LocalTarget(pipeline.resources.settings, self.images.unpack)
        pipeline.change(image_store=self.images)
        self._restore_place()
        self._restore_registry()

    def _restore_place(self) -> None:
        """The place runs what the stored record of the embedded target says, split as the router's file says."""
        place = self.pipeline.target.place
        for environment in Environment:
            record = self.local.record(environment)
            place.records[environment] = record
            place.deployments[environment] = dict(record.deployments)
            place.weights[environment] = self.routed(environment)

    def _restore_registry(self) -> None:
        """Stages are given in the order of the stored ones, and this registry's clock began earlier."""
        registry, kept = self.pipeline.registry, self.stored.registry
        for version, one in kept["versions"].items():
            assert registry.publish(one["checkpoint"].encode()) == version
            self.pipeline.evaluator.found[version] = one["found"]
        for version, one in sorted(kept["versions"].items(), key=lambda item: item[1]["moved_at"]):
            if one["stage"] != "None":
                registry.stage(version, one["stage"], at=one["moved_at"])
        for alias, version in kept["aliases"].items():
            registry.alias(version, alias)

    def routed(self, environment: Environment) -> dict[Colour, int]:
        """The users' split in the files of the embedded target's router."""
        file = self.stored.home / "router" / "dynamic" / f"{environment}-weights.yml"
        split = yaml.safe_load(file.read_text())["http"]["services"][f"{environment}-users"]["weighted"]["services"]
        return {Colour(service["name"].partition("-")[0]): service["weight"] for service in split}

    @property
    def production(self) -> RolloutRecord:
        return self.pipeline.target.record(Environment.PRODUCTION)

    def live(self) -> ImageRef:
        found = self.production.live
        assert found is not None
        return found

    def stage_another(self) -> str:
        """A new version, better than all before, that the sensor asks to deliver."""
        version = self.pipeline.stage(BETTER)
        looked = self.pipeline.tick("staged_versions", self.stored.cursors["staged_versions"])
        assert isinstance(looked, dg.SensorResult)
        assert [request.partition_key for request in looked.run_requests or []] == [version]
        return version


@contextmanager
def restored(home: Path, variant: str = AT_REST, *, adopted: bool = True) -> Iterator[Restored]:
    stored = unpack(home, variant)
    with open_pipeline(stored.home) as pipeline:
        if adopted:
            pipeline.audit_log.adopt(pipeline.audit_log.unsigned())
        yield Restored(pipeline, stored)


@pytest.fixture
def at_rest(tmp_path: Path) -> Iterator[Restored]:
    """Version 2 in production, version 1 warm beside it."""
    with restored(tmp_path / "home") as opened:
        yield opened


def cluster(objects: dict[str, Json], routing: str) -> KubernetesTarget:
    """The target on what a cluster held."""
    api = cast(KubernetesApi, ClusterObjects(objects))
    staging, production = (
        EnvironmentNamespace(Environment.STAGING, "staging"),
        EnvironmentNamespace(Environment.PRODUCTION, "production"),
    )
    way = GatewayRouting(api, production, 10.0) if routing == "gateway" else EndpointRouting(api, production)
    return KubernetesTarget(
        sites={
            Environment.STAGING: EnvironmentCluster(api, staging, SoleRouting(api, staging)),
            Environment.PRODUCTION: EnvironmentCluster(api, production, way),
        },
    )


def what_is_read(found: Restored) -> Json:
    """Everything that is read out of stored state, as JSON: what expected.json holds."""
    pipeline, stored, history = found.pipeline, found.stored, found.pipeline.audit_log
    versions = list(stored.registry["versions"])
    attempts = history.attempts()
    live = found.local.record(Environment.PRODUCTION).live
    before = previous_release(attempts, live.digest) if live else None
    with connect(f"sqlite:///{stored.predictions}").connect() as connection:
        rows = connection.execute(sa.text("SELECT * FROM banana_predictions ORDER BY id")).mappings().all()
    return {
        "attempts": [[attempt.version, attempt.outcome.value, attempt.run_id] for attempt in attempts],
        "live": _image(live),
        "previous_release": [before.version, before.digest, before.run_id] if before else None,
        "versions": {version: _version(history, version) for version in versions},
        "runs": {
            run.run_id: {"job": run.job_name, "status": run.status.value, "tags": _own(run.tags)}
            for run in pipeline.instance.get_runs()
        },
        "checks": {run.run_id: _checks(pipeline.instance, run.run_id) for run in pipeline.instance.get_runs()},
        "environments": {environment.value: _environment(found, environment) for environment in Environment},
        "clusters": {routing: _cluster(stored.clusters[routing], routing) for routing in ROUTINGS},
        "notices": [[notice.key, notice.title, notice.urgency.value] for notice in pipeline.sent],
        "owed": [
            [owed.notice.key, sorted(owed.channels)]
            for owed in Outbox(stored.home / "notifications.outbox.json").waiting().owed
        ],
        "untold": [
            [attempt.version, attempt.outcome.value, attempt.run_id]
            for attempt in pipeline.resources.publisher.pending.attempts()
        ],
        "answers": _answers(stored.home),
        "predictions": [{**row, "predicted_at": str(row["predicted_at"])} for row in rows],
    }


def _version(history: AuditLog, version: str) -> Json:
    attempts, decisions = history.attempts(version), history.decisions(version)
    verdicts = history.verdicts(version)
    image = history.latest(ImageRecord, "image", version)
    artifact = history.latest(ArtifactRecord, "model_artifact", version)
    staging = history.latest(StagingRecord, "staging_release", version)
    said = attempts
    digest = image.ref.digest if image else ""
    return {
        "outcome": attempts[0].outcome.value,
        "revoked": is_revoked(said),
        "is_redeploy": is_redeploy(said),
        "attempts": [_attempt(attempt) for attempt in attempts],
        "image": {"digest": digest, "key": image.ref.key, "tags": list(image.tags)} if image else None,
        "artifact": {"onnx": artifact.onnx_sha256, "classes": list(artifact.classes)} if artifact else None,
        "staging": {"tests": [row.name for row in staging.tests], "quality": staging.quality.reason}
        if staging
        else None,
        "verdicts": [verdict.model_dump(mode="json", exclude={"observed"}) for verdict in verdicts],
        "words": [decision.model_dump(mode="json", exclude={"schema_number", "frozen"}) for decision in decisions],
        "gate": _gate(
            evaluate_gate(version, digest, verdicts=verdicts, history=said, decisions=decisions, frozen=False)
        ),
        "gate_when_frozen": _gate(
            evaluate_gate(version, digest, verdicts=verdicts, history=said, decisions=decisions, frozen=True)
        ),
    }


def _gate(decision: GateDecision) -> Json:
    return {"passage": decision.status.value, "basis": decision.basis, "reason": decision.reason}


NOT_YET = {
    *("steps", "schema_number", "revokes", "policy", "asked_at", "observed", "frozen", "precision", "precision_reason"),
}


def _attempt(attempt: AttemptRecord) -> Json:
    """All but the steps' own figures, of which only the weights and decisions are kept."""
    assert not attempt.revokes, "that version did not know whose release a rollback takes out"
    assert attempt.asked_at is None, "nor when somebody asked for it"
    assert not attempt.observed, "and its policies acted"
    assert not attempt.frozen, "and did not tell what a freeze keeps out"
    assert not attempt.precision + attempt.precision_reason, "and all of it computed in f32"
    whole = attempt.model_dump(mode="json", exclude=NOT_YET)
    return {**whole, "steps": [[step.metrics.weight, step.decision] for step in attempt.steps]}


def _environment(found: Restored, environment: Environment) -> Json:
    folder = found.stored.home / "environments" / environment
    sets = [ReplicaSet.read_json(file.read_text()) for file in _sets(folder, environment)]
    return {
        **_record(found.local.record(environment)),
        "routed": {colour.value: weight for colour, weight in found.routed(environment).items()},
        "replicas": {one.colour.value: [[replica.name, replica.port] for replica in one.replicas] for one in sets},
        "releases": {one.colour.value: str(one.directory.relative_to(found.stored.home)) for one in sets},
    }


def _sets(folder: Path, environment: Environment) -> Sequence[Path]:
    return [file for colour in COLOURS[environment] if (file := folder / f"{colour}.json").exists()]


def _cluster(objects: dict[str, Json], routing: str) -> Json:
    target = cluster(objects, routing)
    read = {}
    for environment in Environment:
        seen = target.observed(environment)
        read[environment.value] = {
            **_record(target.record(environment)),
            "observed_weights": {colour.value: weight for colour, weight in seen.weights.items()},
            "observed_replicas": {colour.value: count for colour, count in seen.replicas.items()},
            "observed_digests": {colour.value: digest for colour, digest in seen.digests.items()},
        }
    return read


def _record(record: RolloutRecord) -> Json:
    return {
        "generation": record.generation,
        "owner": record.owner,
        "heartbeat": record.heartbeat,
        "phase": record.phase.value,
        "plan": record.plan,
        "active": record.active.value if record.active else None,
        "candidate": _image(record.candidate),
        "live": _image(record.live),
        "deployments": {
            colour.value: [*_image(deployment.image), deployment.replicas]
            for colour, deployment in record.deployments.items()
        },
        "weights": {colour.value: weight for colour, weight in record.weights.items()},
        "baseline": _baseline(record),
        "warm_until": record.scale_down_at,
        "note": record.note,
    }


def _baseline(record: RolloutRecord) -> Json | None:
    if record.baseline is None:
        return None
    counted = {backend: [counters.requests, counters.failed] for backend, counters in record.baseline.backends.items()}
    return {"at": record.baseline.at, "counted": counted, "digests": record.baseline.digests}


def _image(ref: ImageRef | None) -> list[str]:
    return [ref.version, ref.digest] if ref else []


def _own(tags: Any) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.startswith("banana/") or key == "dagster/partition"}


def _checks(instance: dg.DagsterInstance, run_id: str) -> list[list[object]]:
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    checks = [event.asset_check_evaluation_data for event in events]
    return [[check.check_name, check.passed, check.severity.value] for check in checks]


def _answers(home: Path) -> Json:
    read = {}
    for file in sorted((home / "answers").glob("*/*.npz")):
        kept = AnswerCache(file.parent, []).get(f"sha256:{file.stem}", whole=False)
        assert kept is not None
        read[file.stem] = [len(kept.names), int(kept.truths.sum()), int(kept.hit.sum())]
    return read


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_that_is_stored_is_read_as_it_was_when_it_was_stored(tmp_path: Path, variant: str) -> None:
    with restored(tmp_path / "home", variant) as found:
        read = what_is_read(found)
        for versions in (read["versions"], found.stored.expected["versions"]):
            for facts in versions.values():
                del facts["gate_when_frozen"]["reason"]  # It says by now that what was approved goes on by itself.
        assert read.keys() == found.stored.expected.keys()
        for part, expected in found.stored.expected.items():
            assert read[part] == expected, part


def test_the_stored_outcomes_are_the_ones_that_were_played(at_rest: Restored) -> None:
    played = {version: facts["outcome"] for version, facts in at_rest.stored.expected["versions"].items()}
    assert played == {
        "1": "released",
        "2": "released",
        "3": "rejected",
        "4": "rolled_back",
        "5": "parked",
        "6": "parked",
    }
    gates = {version: facts["gate"] for version, facts in at_rest.stored.expected["versions"].items()}
    assert {version: (one["passage"], one["basis"]) for version, one in gates.items()} == {
        "1": ("open", "redeploy"),
        "2": ("open", "redeploy"),
        "3": ("refused", ""),
        "4": ("open", "override"),
        "5": ("parked", ""),
        "6": ("open", "approval"),
    }


def test_deliveries_redeploys_and_rollbacks_go_on_from_a_stored_release(at_rest: Restored) -> None:
    pipeline = at_rest.pipeline
    first, second = pipeline.attempts("1")[0], pipeline.attempts("2")[0]
    seventh = at_rest.stage_another()
    assert pipeline.run(seventh).is_success
    released = pipeline.attempts(seventh)[0]
    assert (seventh, released.outcome, released.previous_digest) == ("7", Outcome.RELEASED, second.digest)

    assert pipeline.run("1", job="redeploy").is_success
    again = pipeline.attempts("1")[0]
    assert (again.outcome, again.basis, again.digest) == (Outcome.RELEASED, "redeploy", first.digest)
    assert again.previous_digest == released.digest

    undone = pipeline.roll_back(actor="ada", reason="It looks wrong.")
    assert (undone.version, undone.serving_version) == ("1", seventh)
    assert at_rest.live().digest == released.digest
    assert (at_rest.production.phase, at_rest.production.owner) == (Phase.IDLE, None)


def test_a_stored_release_is_delivered_as_a_whole_with_its_original_files_and_image(at_rest: Restored) -> None:
    pipeline = at_rest.pipeline
    history = pipeline.audit_log
    artifact = history.latest(ArtifactRecord, "model_artifact", "1")
    image = history.latest(ImageRecord, "image", "1")
    assert artifact
    assert image
    assert pipeline.run("1").is_success
    assert history.latest(ArtifactRecord, "model_artifact", "1") == artifact.replace(reused=True, seconds=0.0)
    now = history.latest(ImageRecord, "image", "1")
    assert now
    assert (now.ref, now.reused) == (image.ref, True)
    assert pipeline.attempts("1")[0].basis == "redeploy"


def test_a_stored_release_is_rolled_back_to_the_warm_one_before_it(at_rest: Restored) -> None:
    pipeline = at_rest.pipeline
    undone = pipeline.roll_back(actor="ada", reason="It looks wrong.")
    assert (undone.version, undone.serving_version, undone.revoked) == ("2", "1", True)
    assert pipeline.weights == {Colour.BLUE: 100, Colour.GREEN: 0}
    assert pipeline.run("2").status is dg.DagsterRunStatus.FAILURE
    assert "was rolled back before" in pipeline.attempts("2")[0].reason


def test_a_stored_approval_and_a_stored_override_still_open_the_gate(at_rest: Restored) -> None:
    pipeline = at_rest.pipeline
    pipeline.run("6", assets=("production_release",))
    assert (pipeline.attempts("6")[0].outcome, pipeline.attempts("6")[0].basis) == (Outcome.RELEASED, "approval")
    # As a whole it would get an image of today's code, about which nobody said anything.
    pipeline.run("4", assets=("production_release",))
    assert (pipeline.attempts("4")[0].outcome, pipeline.attempts("4")[0].basis) == (Outcome.RELEASED, "override")


def test_what_the_registry_was_never_told_it_is_told_at_the_first_look(at_rest: Restored) -> None:
    pipeline = at_rest.pipeline
    assert (pipeline.registry.describe("1").stage, pipeline.registry.describe("2").stage) == ("Production", "Staging")
    told = pipeline.sent
    looked = pipeline.tick("staged_versions", at_rest.stored.cursors["staged_versions"])
    assert isinstance(looked, dg.SkipReason)
    assert (pipeline.registry.describe("1").stage, pipeline.registry.describe("2").stage) == ("Archived", "Production")
    assert pipeline.resources.publisher.pending.attempts() == []
    assert pipeline.sent == told


def test_the_watch_after_a_promotion_goes_on_from_its_stored_cursor(at_rest: Restored) -> None:
    pipeline = at_rest.pipeline
    place = pipeline.target.place
    place.records[Environment.PRODUCTION] = at_rest.production.replace(scale_down_at=pipeline.clock.now + 600)
    pipeline.break_image(at_rest.live().digest, error_rate=0.6)
    # More requests than the cursor counted; fewer would look like a router that was restarted.
    place.serve(Environment.PRODUCTION, 5000)
    bad = at_rest.live()

    pipeline.tick("production_watch", at_rest.stored.cursors["production_watch"])

    now = pipeline.target.record(Environment.PRODUCTION).live
    assert now is not None
    assert now.digest != bad.digest, "the first look of a watch without a past never rolls anything back"


def test_a_shift_whose_owner_died_is_taken_back_and_deliveries_go_on(tmp_path: Path) -> None:
    with restored(tmp_path / "home", MID_SHIFT) as found:
        pipeline = found.pipeline
        before = found.production
        assert before.phase is Phase.SHIFTING
        assert sorted(pipeline.weights.values()) == [40, 60]
        # Its record holds only a time, of a clock that nobody knows: one patience has to be seen to pass.
        pipeline.tick("reconcile")
        assert found.production == before
        pipeline.clock.now += pipeline.resources.settings.stale_after_seconds + 1
        pipeline.tick("reconcile")
        assert (found.production.phase, found.production.owner, pipeline.serving) == (Phase.IDLE, None, "2")
        assert sorted(pipeline.weights.values()) == [0, 100]
        seventh = found.stage_another()
        assert pipeline.run(seventh).is_success
        assert pipeline.serving == seventh


def test_a_person_rolls_back_a_shift_whose_owner_died(tmp_path: Path) -> None:
    with restored(tmp_path / "home", MID_SHIFT) as found:
        owner = found.production.owner
        undone = found.pipeline.roll_back(actor="ada", reason="It hangs.")
        assert (undone.version, undone.serving_version, undone.run_id) == ("6", "2", owner)
        assert found.pipeline.weights == {Colour.BLUE: 0, Colour.GREEN: 100}


def test_a_stored_hold_lasts_until_somebody_resumes(tmp_path: Path) -> None:
    with restored(tmp_path / "home", HELD) as found:
        pipeline = found.pipeline
        by_hand = dict(pipeline.weights)
        seventh = found.stage_another()
        assert pipeline.run(seventh).status is dg.DagsterRunStatus.FAILURE
        assert "banana-delivery resume production" in pipeline.attempts(seventh)[0].reason
        assert pipeline.weights == by_hand
        recovery.resume(pipeline.target, Environment.PRODUCTION, "ada", pipeline.clock)
        assert pipeline.weights == {Colour.BLUE: 0, Colour.GREEN: 100}
        assert pipeline.run(seventh).is_success
        assert pipeline.serving == seventh


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stored_cluster_is_claimed_and_the_next_release_takes_it_over(
    tmp_path: Path, variant: str, routing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GatewayRouting, "wait_applied", lambda *route: None)
    monkeypatch.setattr(endpoints, "PROXY_SECONDS", 0.0)
    target = cluster(unpack(tmp_path / "home", variant).clusters[routing], routing)
    before = target.record(Environment.PRODUCTION)
    claim = steal(target, Environment.PRODUCTION, "the next version")
    assert claim.generation == before.generation + 1
    assert before.active
    assert before.live
    target.set_weights(claim, before.resting_weights)
    seventh = before.live.replace(digest="sha256:" + "7" * 64, version="7")
    target.deploy(claim, before.idle, seventh, 2)
    target.set_weights(claim, {before.idle: 100, before.active: 0})
    target.write(
        claim, target.record(Environment.PRODUCTION).replace(active=before.idle, phase=Phase.IDLE, candidate=None)
    )
    target.release(claim)
    after = target.record(Environment.PRODUCTION)
    assert (after.live, after.owner) == (seventh, None)
    seen = target.observed(Environment.PRODUCTION)
    assert seen.weights == {before.idle: 100, before.active: 0}
    assert seen.digests == {before.idle: seventh.digest, before.active: before.live.digest}


def test_a_replica_goes_on_writing_into_a_stored_prediction_log(tmp_path: Path) -> None:
    stored = unpack(tmp_path / "home")
    engine = connect(f"sqlite:///{stored.predictions}")
    labels = {"model_version": "7", "digest": "sha256:" + "7" * 64, "environment": "production", "colour": "blue"}
    store = SqlPredictionStore(engine, labels)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    store.write([PredictionRecord("third", now, "user", 160, 120, "[]", 0.01)])
    with engine.connect() as connection:
        versions = connection.execute(sa.text("SELECT model_version FROM banana_predictions ORDER BY id")).scalars()
        assert list(versions) == ["1", "2", "7"]
    store.close()


def test_what_nobody_adopted_opens_no_gate_and_lets_nothing_revoked_back_in(tmp_path: Path) -> None:
    with restored(tmp_path / "home", adopted=False) as found:
        pipeline = found.pipeline
        log = pipeline.audit_log
        assert [one.version for one in log.attempts()] == ["4"]
        assert is_revoked(log.attempts("4"))
        assert not any(log.decisions(version) or log.verdicts(version) for version in "123456")
        assert pipeline.run("1", job="redeploy").status is dg.DagsterRunStatus.FAILURE
        # Nothing is delivered or put on record once more for not being believed.
        looked = pipeline.tick("staged_versions", found.stored.cursors["staged_versions"])
        assert isinstance(looked, dg.SkipReason)
        assert pipeline.roll_back(actor="ada", reason="It looks wrong.").serving_version == "1"

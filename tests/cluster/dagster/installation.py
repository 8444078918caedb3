"""Dagster on the cluster, as people and its daemon use it: MLflow, the pages, the runs' pods, and who is told."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from banana_delivery.errors import DagsterError
from banana_delivery.model_registry.publish import publish
from banana_delivery.names import PARTITION_TAG
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Outcome, Phase, RolloutRecord
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.runs.client import FINISHED, DagsterClient
from banana_delivery.runs.code_location import DELIVER, PIPELINE, REPOSITORY
from banana_delivery.sample_data.models import sample_run
from banana_delivery.targets.kubernetes.api import Json
from banana_delivery.targets.kubernetes.target import KubernetesTarget
from tests.cluster.cluster import PRODUCTION, Cluster, until
from tests.cluster.dagster.notices import Notices
from tests.cluster.dagster.overlay import DEPLOYMENTS, NAMESPACE, Overlay
from tests.integration.serving.postgres import Postgres

MODEL = "better"
"""A sample; versions of one model differ in nothing that could turn one of them back."""
WHERE = {"repositoryName": REPOSITORY, "repositoryLocationName": "banana-delivery"}
LAUNCH = """
mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { id } }
    ... on PythonError { message stack }
  }
}
"""
TERMINATE = """
mutation Terminate($runIds: [String!]!) {
  terminateRuns(runIds: $runIds) {
    ... on TerminateRunsResult { terminateRunResults {
      __typename
      ... on TerminateRunFailure { message }
      ... on PythonError { message }
    } }
  }
}
"""
RUNS_OF = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { runs { id tags { key value } } } }
}
"""
CAPTURED = """
query ($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events { ... on LogsCapturedEvent { fileKey } } } }
}
"""
PRINTED = "query ($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"
BEGAN = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { startTime endTime } } }"
START_SECONDS = 300.0
DELIVERY_SECONDS = 900.0
"""Busy machines build, export and start replicas slowly."""
SLOTS = """
query ($pool: String!) {
  instance { concurrencyLimit(concurrencyKey: $pool) { slotCount claimedSlots { runId } pendingSteps { runId } } }
}
"""
UNFINISHED = """
query { runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
  ... on Runs { results { runId status } } } }
"""


@dataclass
class Installation:
    """A running one.

    Attributes:
        cluster: where it runs, and releases to.
        pages: address of Dagster's pages.
        mlflow: address of the registry of models.
        notices: who is told.
        database: where Dagster keeps what it knows.
        overlay: what was applied.
        folder: where that is written down.
        token: of the command line, where the pages ask for a login; empty where they ask nobody.
        proven: a version that was compared and found good, and that production does not serve; empty if there is none.
    """

    cluster: Cluster
    pages: str
    mlflow: str
    notices: Notices
    database: Postgres
    overlay: Overlay
    folder: Path
    token: str = ""

    def __post_init__(self) -> None:
        self.client = DagsterClient(self.pages, token=self.token)
        self.target: KubernetesTarget = self.cluster.target("gateway")

        self.proven = ""

    def publish(self, stage: str | None = None) -> str:
        """Publish a version; returns its number. Marked "Staging" it is delivered by the sensor."""
        checkpoint, metrics, params = sample_run(MODEL)
        version = publish(checkpoint, metrics=metrics, params=params, tracking_uri=self.mlflow, stage=stage)
        self.client.add_partition(version)
        return version

    def launch(self, version: str, *assets: str) -> str:
        """Materialize assets of a version as the pages do it; returns the run id."""
        names = assets or PIPELINE
        params = {
            "mode": "default",
            "selector": {**WHERE, "jobName": DELIVER, "assetSelection": [{"path": [name]} for name in names]},
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": PARTITION_TAG, "value": version}]},
        }
        answer = self.ask(LAUNCH, {"executionParams": params})["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["id"])

    def terminate(self, run_id: str) -> None:
        """End a run as the pages do it."""
        (answer,) = self.ask(TERMINATE, {"runIds": [run_id]})["terminateRuns"]["terminateRunResults"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def candidate(self) -> tuple[str, str]:
        """A delivery under way of a version beside another in production; what was compared once is used again."""
        if self.production.live is None:
            first = self.publish()
            self.ends(self.launch(first), first, Outcome.RELEASED)
        if self.proven:
            return self.proven, self.launch(self.proven, "production_release")
        self.proven = self.publish()
        return self.proven, self.launch(self.proven)

    def started(self, version: str) -> str:
        """The run that the sensor starts for a version; waits for it."""
        found: list[str] = []

        def look() -> bool:
            found.extend(filter(None, [self.client.run_tagged(PARTITION_TAG, version)]))
            return bool(found)

        until(look, f"a run for version {version}", START_SECONDS)
        return found[-1]

    def ask(self, query: str, variables: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask the pages as a browser that shows them does."""
        browser = {"Origin": self.pages, "Referer": f"{self.pages}/", "Sec-Fetch-Site": "same-origin"}
        if self.token:
            browser["Authorization"] = f"Bearer {self.token}"
        body = {"query": query, "variables": variables or {}}
        answer = httpx.post(f"{self.pages}/graphql", json=body, headers=browser, timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        said = answer.json()
        assert not said.get("errors"), said
        return dict(said["data"])

    def answers(self) -> bool:
        """Whether the pages do, as they do not while what leads there still leads to a pod that has gone."""
        try:
            self.ask("query { version }")
        except httpx.HTTPError:
            return False
        return True

    def status(self, run_id: str) -> str:
        """A run's, by Dagster's name; empty while the pages are away, as they are when their database is."""
        try:
            return self.client.steps(run_id)[0]
        except DagsterError:
            return ""

    def ended(self, run_id: str, version: str) -> AttemptRecord:
        """What the audit trail says of a run, once it is over and that is said."""
        until(lambda: self.status(run_id) in FINISHED, f"the end of run {run_id}", DELIVERY_SECONDS)
        until(lambda: self.client.attempt(run_id, version) is not None, f"the line of run {run_id}")
        said = self.client.attempt(run_id, version)
        assert said is not None
        return said

    def ends(self, run_id: str, version: str, outcome: Outcome) -> AttemptRecord:
        """The same, and its slot is free: nobody is at work."""
        said = self.told(run_id, version, outcome)
        until(self.is_idle, "a free slot")
        return said

    def told(self, run_id: str, version: str, outcome: Outcome) -> AttemptRecord:
        """A run ends as it must, and people are told; others may be under way."""
        said = self.ended(run_id, version)
        assert said.outcome == outcome, said
        assert self.client.steps(run_id)[0] == CONSEQUENCES[outcome].run_status
        until(lambda: bool(self.notices.about(run_id)), f"a notice of run {run_id}")
        return said

    def is_idle(self) -> bool:
        """Whether no run is under way and no slot taken."""
        slot = self.ask(SLOTS, {"pool": "delivery"})["instance"]["concurrencyLimit"]
        assert slot["slotCount"] == 1
        return not (self.ask(UNFINISHED)["runsOrError"]["results"] or slot["claimedSlots"] or slot["pendingSteps"])

    @property
    def production(self) -> RolloutRecord:
        """What the record says."""
        return self.target.record(PRODUCTION)

    def serves(self, version: str) -> bool:
        """Whether both environments are at rest, and users are served by this version alone."""
        records = [self.target.record(environment) for environment in Environment]
        if any(record.owner or record.phase is not Phase.IDLE for record in records):
            return False
        record, observed = self.production, self.target.observed(PRODUCTION)
        return (
            record.live is not None
            and record.active is not None
            and record.live.version == version
            and observed.weights == record.resting_weights
            and sorted(observed.weights.values()) == [0, 100]
            and observed.digests[record.active] == record.live.digest
            and not observed.route
        )

    def shifting(self, run_id: str) -> None:
        """Wait until a run has given its candidate a part of the users, and not all."""

        def half_way() -> bool:
            status, _ = self.client.steps(run_id)
            assert status not in FINISHED, f"run {run_id} is {status} before it moved any users"
            record = self.production
            return (
                record.owner == run_id
                and record.phase is Phase.SHIFTING
                and 0 < record.weights.get(record.idle, 0) < 100
            )

        until(half_way, f"the shift of run {run_id}", DELIVERY_SECONDS)

    def in_production(self, run_id: str) -> None:
        """Wait until a run has production to itself."""
        until(lambda: self.production.owner == run_id, f"run {run_id} in production", DELIVERY_SECONDS)

    def backfill(self, versions: Sequence[str]) -> list[str]:
        """Launch a backfill of whole deliveries; returns its runs, in the order in which they were queued."""
        backfill = self.client.backfill(PIPELINE, versions, {})
        until(lambda: len(self.client.backfill_runs(backfill)) == len(versions), "its runs", START_SECONDS)
        runs = self.ask(RUNS_OF, {"id": backfill})["partitionBackfillOrError"]["runs"]
        by_version = {tag["value"]: run["id"] for run in runs for tag in run["tags"] if tag["key"] == PARTITION_TAG}
        return [by_version[version] for version in versions]

    def began(self, run_id: str) -> float:
        """When a run's process began, in seconds since the epoch; 0 before."""
        return float(self.ask(BEGAN, {"id": run_id})["runOrError"]["startTime"] or 0.0)

    def printed(self, run_id: str) -> str:
        """What the pages show of what a run printed."""
        events = self.ask(CAPTURED, {"id": run_id})["logsForRun"]["events"]
        files = [event["fileKey"] for event in events if event.get("fileKey")]
        shown = [self.ask(PRINTED, {"key": [run_id, "compute_logs", file]})["capturedLogs"] for file in files]
        return "".join(one[stream] or "" for one in shown for stream in ("stdout", "stderr"))

    def staging_replicas(self) -> int:
        """How many staging is meant to have."""
        (found,) = self.cluster.get("deployments", "-n", "staging")["items"]
        return int(found["spec"]["replicas"])

    def pods_of(self, run_id: str) -> list[Json]:
        """The pods of a run."""
        return list(self.cluster.get("pods", "-n", NAMESPACE, "-l", f"job-name=dagster-run-{run_id}")["items"])

    def exports(self) -> list[Json]:
        """The pods in which models were exported."""
        return list(
            self.cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=banana-delivery-export")["items"]
        )

    def pod_of(self, run_id: str) -> str:
        """The name of a run's only pod."""
        (pod,) = self.pods_of(run_id)
        return str(pod["metadata"]["name"])

    def are_ready(self) -> bool:
        """Whether all Deployments are."""
        found = self.cluster.get("deployments", "-n", NAMESPACE, *DEPLOYMENTS)["items"]
        return all(each["status"].get("readyReplicas") == each["spec"]["replicas"] for each in found)


def put_secrets(cluster: Cluster, database: Mapping[str, str], notices: Notices) -> None:
    """What docs/kubernetes.md has people make: the database, the key that signs records, and whom to tell."""
    told = {"BANANA_NOTIFY_URLS": json.dumps([notices.url])}
    keys = {"keys": secrets.token_hex(32)}
    for name, data in (
        ("dagster-postgres", database),
        ("banana-delivery-evidence", keys),
        ("banana-delivery-secrets", told),
    ):
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/part-of": "banana-delivery"},
            },
            "stringData": dict(data),
        }
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret))

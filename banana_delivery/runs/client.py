"""Asking a running Dagster to do something: launch a run, launch a backfill, wait for the end. Plain GraphQL."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import httpx

from banana_delivery.errors import DagsterError
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.code_location import REPOSITORY, ROLLOUT_LOG, CodeLocation, shared_key
from banana_delivery.runs.records import RECORD_KEY

REFUSED = {401, 403}
"""By the guard of the pages: for want of a login or a name, and not because they are away."""
CLOUD_HEADER = "Dagster-Cloud-Api-Token"
FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}

LAUNCH_RUN = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
LAUNCH_BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
RUN_STEPS = """
query ($id: ID!) { runOrError(runId: $id) { ... on Run { status stepStats { stepKey status } } } }
"""
RUN_TAGGED = """
query ($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 1) { ... on Runs { results { runId } } } }
"""
ADD_PARTITION = """
mutation ($version: String!, $name: String!, $where: RepositorySelector!) {
  addDynamicPartition(partitionKey: $version, partitionsDefName: $name, repositorySelector: $where) {
    __typename
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""
ATTEMPTS = """
query ($key: AssetKeyInput!, $version: String!) {
  assetOrError(assetKey: $key) {
    ... on Asset {
      assetMaterializations(partitions: [$version], limit: 20) {
        metadataEntries { label ... on JsonMetadataEntry { jsonString } }
      }
    }
  }
}
"""
BACKFILL_RUNS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status runs { id status } } }
}
"""
SHARED_KEYS = """
query ($keys: [AssetKeyInput!]!) {
  assetNodeDefinitionCollisions(assetKeys: $keys) { assetKey { path } repositories { location { name } } }
}
"""


class DagsterClient:
    """A client of the Dagster webserver.

    Args:
        url: of the webserver, without a trailing slash.
        location: what of that Dagster is ours.
        token: shows pages that want a login who asks; empty where they want none.
        cloud_token: shows Dagster+ who asks, in the place of that; empty: the pages are somebody's own.
    """

    def __init__(
        self, url: str, location: CodeLocation | None = None, token: str = "", *, cloud_token: str = ""
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if cloud_token:
            self._headers = {CLOUD_HEADER: cloud_token}
        self._location = location or CodeLocation()

    def launch(self, job: str, version: str, tags: Mapping[str, str], assets: Sequence[str] = ()) -> str:
        """Launch a job for one version, whole or for some of its assets.

        Returns:
            The run id.

        Raises:
            DagsterError: if it was not launched.
        """
        self._refuse_shared_keys()
        selector: dict[str, object] = {
            "repositoryLocationName": self._location.name,
            "repositoryName": REPOSITORY,
            "jobName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": self._location.key(asset).path} for asset in assets]
        all_tags = {**tags, "dagster/partition": version}
        params = {
            "selector": selector,
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in all_tags.items()]},
        }
        answer = self._ask(LAUNCH_RUN, {"params": params})["launchRun"]
        if "run" not in answer:
            raise DagsterError(f"Dagster did not launch {job} for version {version}: {_why(answer)}")
        return str(answer["run"]["runId"])

    def backfill(self, assets: Sequence[str], versions: Sequence[str], tags: Mapping[str, str]) -> str:
        """Launch a backfill of some assets over some versions.

        Returns:
            The backfill id.

        Raises:
            DagsterError: if it was not launched.
        """
        params = {
            "assetSelection": [{"path": self._location.key(asset).path} for asset in assets],
            "partitionNames": list(versions),
            "tags": [{"key": key, "value": value} for key, value in {**tags, **self._location.tags}.items()],
        }
        answer = self._ask(LAUNCH_BACKFILL, {"params": params})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise DagsterError(f"Dagster did not launch the backfill: {_why(answer)}")
        return str(answer["backfillId"])

    def steps(self, run_id: str) -> tuple[str, dict[str, str]]:
        """A run's status and that of each of its steps that began, by Dagster's own names."""
        answer = self._ask(RUN_STEPS, {"id": run_id})["runOrError"]
        if "status" not in answer:
            raise DagsterError(f"Dagster knows no run {run_id}.")
        return str(answer["status"]), {one["stepKey"]: str(one["status"]) for one in answer["stepStats"]}

    def run_tagged(self, tag: str, value: str) -> str | None:
        """The run that bears a tag with this value; None if there is none."""
        wanted = {"filter": {"tags": [{"key": tag, "value": value}]}}
        found = self._ask(RUN_TAGGED, wanted)["runsOrError"].get("results", [])
        return str(found[0]["runId"]) if found else None

    def add_partition(self, version: str) -> None:
        """Make a version known to Dagster; that it is known already is no fault.

        Raises:
            DagsterError: if it cannot be.
        """
        where = {"repositoryLocationName": self._location.name, "repositoryName": REPOSITORY}
        variables = {"version": version, "name": self._location.partitions.name, "where": where}
        answer = self._ask(ADD_PARTITION, variables)["addDynamicPartition"]
        if answer["__typename"] not in {"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"}:
            raise DagsterError(f"Dagster did not take version {version}: {_why(answer)}")

    def attempt(self, run_id: str, version: str) -> AttemptRecord | None:
        """What the audit trail says of a run, if it says anything yet: for people, since nobody looks at signatures."""
        key = {"path": self._location.key(ROLLOUT_LOG).path}
        answer = self._ask(ATTEMPTS, {"key": key, "version": version})["assetOrError"]
        for one in answer.get("assetMaterializations", []):
            for entry in one["metadataEntries"]:
                if entry["label"] == RECORD_KEY and (found := _attempt(entry.get("jsonString"))).run_id == run_id:
                    return found
        return None

    def backfill_runs(self, backfill_id: str) -> dict[str, str]:
        """The status of each run of a backfill, by run id."""
        answer = self._ask(BACKFILL_RUNS, {"id": backfill_id})["partitionBackfillOrError"]
        return {run["id"]: run["status"] for run in answer.get("runs", [])}

    def _refuse_shared_keys(self) -> None:
        """Two code locations with one asset share its history, and the catalogue shows one of them."""
        keys = [{"path": key.path} for key in self._location.keys]
        for shared in self._ask(SHARED_KEYS, {"keys": keys})["assetNodeDefinitionCollisions"]:
            locations = " and ".join(sorted(one["location"]["name"] for one in shared["repositories"]))
            raise DagsterError(shared_key("/".join(shared["assetKey"]["path"]), f"the code locations {locations}"))

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """Whose certificates count; reading them takes longer than most of what is asked."""
        return httpx.create_ssl_context()

    def _ask(self, query: str, variables: Mapping[str, object]) -> dict[str, Any]:
        try:
            response = httpx.post(
                f"{self._url}/graphql",
                json={"query": query, "variables": variables},
                headers=self._headers,
                timeout=60.0,
                trust_env=False,
                # It knows ``SSL_CERT_FILE``; a proxy of the environment is not meant here.
                verify=self._trusted,
            )
            if response.status_code in REFUSED:
                raise DagsterError(f"Dagster's pages at {self._url} refused: {_refusal(response)}")
            body = response.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterError(
                f"Dagster does not answer at {self._url} ({error}); start it by: {commands.up()}"
            ) from error
        if body.get("errors"):
            raise DagsterError(f"Dagster refused: {body['errors'][0]['message']}")
        return dict(body["data"])


def _attempt(text: str | None) -> AttemptRecord:
    """A stored attempt; an empty one where somebody put something else."""
    try:
        return AttemptRecord.read_json(text or "")
    except ValueError:
        return AttemptRecord(version="", outcome=Outcome.ERROR, reason="", at=0.0)


def _refusal(response: httpx.Response) -> str:
    try:
        return str(response.json()["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return f"HTTP {response.status_code}"


def _why(answer: Mapping[str, object]) -> str:
    errors = answer.get("errors")
    if isinstance(errors, list) and errors:
        return str(errors[0]["message"])
    return str(answer.get("message") or answer.get("__typename"))

"""What Dagster may do on a cluster is what its launcher asks for, and a run's tags cannot widen it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster_k8s.client import DagsterKubernetesClient
from kubernetes.client import BatchV1Api, CoreV1Api

from tests.cluster.recorder import Right, asked
from tests.unit.k8s.dagster_manifests import BASE, NAMESPACE, OBJECTS, job_of_a_run, launcher

LOOKS = "banana-delivery-look"
JOB, POD = "dagster-run-0", "dagster-run-0-abcde"
STATUS = {"startTime": "2024-01-01T00:00:00Z", "active": 1}
CONTAINER = {"name": "dagster", "image": "i", "imageID": "i", "ready": True, "restartCount": 0}
POD_FOUND = {
    "metadata": {"name": POD},
    "spec": {"containers": [{"name": "dagster"}]},
    "status": {"phase": "Running", "containerStatuses": [{**CONTAINER, "state": {"running": {}}}]},
}
ANSWERS: dict[str, Any] = {
    "pods": {"items": [POD_FOUND]},
    "jobs": {"items": [{"metadata": {"name": JOB}, "status": STATUS}]},
    "jobs/status": {"status": STATUS},
    "events": {"items": []},
}


@contextmanager
def api_server() -> Iterator[tuple[str, set[tuple[str, str, str]]]]:
    """Knows one Job and its pod, and writes down which rights were needed."""
    needed: set[tuple[str, str, str]] = set()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            right: Right = asked(self.command, self.path)
            verb = "delete" if self.command == "DELETE" else right.verb
            assert right.namespace == NAMESPACE
            needed.add((right.group, right.resource, verb))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(ANSWERS.get(right.resource, {}) if self.command == "GET" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the base class wants these names

        def log_message(self, *_: object) -> None:
            """What was asked is in ``needed``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", needed
        server.shutdown()


def granted_to(account: str) -> set[tuple[str, str, str]]:
    objects = OBJECTS
    bound = {
        thing["roleRef"]["name"]
        for thing in objects
        if thing["kind"] == "RoleBinding" and account in {subject["name"] for subject in thing["subjects"]}
    }
    return {
        (group, resource, verb)
        for thing in objects
        if thing["kind"] == "Role" and thing["metadata"]["name"] in bound
        for rule in thing["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_daemon_may_do_what_launching_watching_and_ending_a_run_asks_for(tmp_path: Path) -> None:
    with api_server() as (url, needed):
        client = client_of(tmp_path, url)
        client.create_namespaced_job_with_retries(job_of_a_run(launcher(tmp_path, url)), NAMESPACE)
        assert client.get_job_status(JOB, NAMESPACE)
        assert "Running" in client.get_pod_debug_info(client.get_pod_names_in_job(JOB, NAMESPACE)[0], NAMESPACE)
        client.get_job_debug_info(JOB, NAMESPACE)
        client.delete_job(JOB, NAMESPACE)

    assert needed == granted_to("dagster-daemon")


@pytest.mark.parametrize("account", ["dagster-webserver", "dagster-code-server"])
def test_the_pages_and_the_sensors_may_end_a_run_and_nothing_else(account: str, tmp_path: Path) -> None:
    with api_server() as (url, needed):
        client_of(tmp_path, url).delete_job(JOB, NAMESPACE)

    assert needed == granted_to(account)


def test_a_run_may_have_its_model_exported_and_its_image_written_and_do_nothing_to_other_runs() -> None:
    assert granted_to("banana-delivery") == {
        ("", "podtemplates", "get"),
        ("batch", "jobs", "create"),
        ("", "pods", "list"),
    }
    assert granted_to("banana-delivery-export") == granted_to("banana-delivery-publisher") == set()


def test_the_sensors_release_by_what_lets_runs_release() -> None:
    subjects = {
        (path.parent.name, thing["metadata"]["name"]): {(one["namespace"], one["name"]) for one in thing["subjects"]}
        for path in (BASE.parent / "rbac").glob("*/role.yaml")
        for thing in yaml.safe_load_all(path.read_text())
        if thing["kind"] == "RoleBinding"
    }

    releases = [bound for (_, name), bound in subjects.items() if not name.startswith(LOOKS)]
    assert len(releases) == 3
    for bound in releases:
        assert bound == {(NAMESPACE, "banana-delivery"), (NAMESPACE, "dagster-code-server")}


def test_the_pages_look_at_releases_and_change_nothing() -> None:
    things = [
        thing
        for path in (BASE.parent / "rbac").glob("*/role.yaml")
        for thing in yaml.safe_load_all(path.read_text())
        if thing["metadata"]["name"].startswith(LOOKS)
    ]
    roles = [thing for thing in things if thing["kind"] == "Role"]
    bindings = [thing for thing in things if thing["kind"] == "RoleBinding"]

    assert len(roles) == len(bindings) == 3
    assert {verb for role in roles for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list"}
    assert {resource for role in roles for rule in role["rules"] for resource in rule["resources"]} == {
        "deployments",
        "horizontalpodautoscalers",
        "services",
        "configmaps",
        "pods",
        "httproutes",
    }
    assert {one["name"] for binding in bindings for one in binding["subjects"]} == {"dagster-webserver"}


@pytest.mark.parametrize(
    "wish", [{"container_config": {"image": "mine"}}, {"pod_spec_config": {"service_account_name": "root"}}]
)
def test_whoever_launches_a_run_chooses_neither_its_image_nor_its_rights(wish: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Exception, match="violated the allowed list"):
        job_of_a_run(launcher(tmp_path), **{"dagster-k8s/config": json.dumps(wish)})


def client_of(scratch: Path, url: str) -> Any:
    """What the launcher asks the API server with; dagster-k8s has no types for it."""
    launcher(scratch, url)  # It points the library at the server.
    client: Any = DagsterKubernetesClient
    return client.production_client(core_api_override=CoreV1Api(), batch_api_override=BatchV1Api())

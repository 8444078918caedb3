"""Who may do what: the accounts of Dagster's pods, asked of the API server and of the pods themselves."""

from __future__ import annotations

import pytest

from tests.cluster.dagster.installation import Installation
from tests.cluster.dagster.overlay import DEPLOYMENTS, NAMESPACE

Asked = tuple[str, str, str, str]
"""Verb, resource with its group, name, namespace."""
BLUE, ROUTES = "banana-api-blue", "httproutes.gateway.networking.k8s.io"
RELEASE: set[Asked] = {
    ("update", "deployments.apps", BLUE, "production"),
    ("create", "deployments.apps", "", "production"),
    ("update", ROUTES, "banana-api", "production"),
    ("update", "deployments.apps", "banana-api-staging", "staging"),
}
START: set[Asked] = {("create", "jobs.batch", "", NAMESPACE)}
END: set[Asked] = {("delete", "jobs.batch", "", NAMESPACE), ("delete", "pods", "", NAMESPACE)}
NOBODY: set[Asked] = {
    ("get", "secrets", "", NAMESPACE),
    ("get", "secrets", "", "production"),
    ("create", "pods", "", NAMESPACE),
    ("create", "pods/exec", "", NAMESPACE),
    ("delete", "deployments.apps", BLUE, "production"),
}
MAY: dict[str, set[Asked]] = {
    "dagster-daemon": START | END,
    "dagster-webserver": END,
    "dagster-code-server": RELEASE | END,
    # A run makes the Jobs of its export and its image, and ends none.
    "banana-delivery": RELEASE | START,
    "banana-delivery-export": set(),
    "banana-delivery-publisher": set(),
    "dagster-migrate": set(),
}
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
HOLDERS = {
    ("dagster-code-server", "code-server"): {"token", "keys", "notify", "database"},
    ("dagster-code-server", "dead-man"): {"notify"},
    ("dagster-webserver", "webserver"): {"token", "database"},
    ("dagster-daemon", "daemon"): {"token", "database"},
}
LOOK = (
    f"test -s {TOKEN} && echo token; test -s /run/evidence/keys && echo keys; "
    'test -n "$BANANA_NOTIFY_URLS" && echo notify; test -n "$DAGSTER_POSTGRES_PASSWORD" && echo database; true'
)


def may(installation: Installation, account: str, asked: Asked) -> bool:
    """What ``kubectl auth can-i`` asks for an account."""
    verb, resource, name, namespace = asked
    kind, _, group = resource.partition(".")
    kind, _, part = kind.partition("/")
    wanted = {"verb": verb, "group": group, "resource": kind, "subresource": part, "name": name, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{NAMESPACE}:{account}", "resourceAttributes": wanted},
    }
    said = installation.cluster.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(said["status"]["allowed"])


@pytest.mark.parametrize("account", MAY)
def test_an_account_may_do_its_own_part_and_no_other(installation: Installation, account: str) -> None:
    asked = RELEASE | START | END | NOBODY
    assert {one for one in asked if may(installation, account, one)} == MAY[account]


def test_each_pod_has_its_account_and_each_container_only_the_secrets_that_it_needs(
    installation: Installation,
) -> None:
    cluster = installation.cluster
    found = {each["metadata"]["name"]: each for each in cluster.get("deployments", "-n", NAMESPACE)["items"]}
    assert {name: each["spec"]["template"]["spec"]["serviceAccountName"] for name, each in found.items()} == {
        name: name for name in DEPLOYMENTS
    }
    held = {
        (name, container): set(
            cluster.kubectl("exec", "-n", NAMESPACE, f"deploy/{name}", "-c", container, "--", "sh", "-c", LOOK).split()
        )
        for name, container in HOLDERS
    }
    assert held == HOLDERS

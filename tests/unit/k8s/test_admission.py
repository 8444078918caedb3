"""The admission policies by a real evaluator of their language, asked as an API server asks.

No server that has such policies can be had here: what a server adds to the language is added to the evaluator.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml

from banana_delivery.export.apart.job import exporting
from banana_delivery.targets.kubernetes.jobs.templates import job_of
from tests.unit.k8s.dagster_manifests import K8S, OBJECTS

Json = dict[str, Any]
POLICIES = {
    one["metadata"]["name"]: one["spec"]
    for one in yaml.safe_load_all((K8S / "components/only-our-images/policies.yaml").read_text())
    if one["kind"] == "ValidatingAdmissionPolicy"
}
RUN = "system:serviceaccount:banana-delivery:banana-delivery"
DAEMON = "system:serviceaccount:banana-delivery:dagster-daemon"
REPOSITORY = "registry.example.com/banana"
RELEASE = f"{REPOSITORY}@sha256:{'a' * 64}"
PARAMS = {"data": {"repositories": f"{REPOSITORY}\n", "others": "docker.io/istio/proxyv2\n"}}


def says(
    policy: str,
    thing: Json,
    *,
    by: str = RUN,
    resource: str = "pods",
    space: str = "production",
    old: Json | None = None,
) -> str:
    """Why a policy refuses something; empty if it lets it in or is not about it."""
    spec = POLICIES[policy]
    context = cel.Context()
    context.add_function("split", lambda text, by: text.split(by))
    context.add_function("substring", lambda text, start: text[int(start) :])
    context.add_function("join", lambda texts, by: by.join(texts))
    context.add_variable("object", thing)
    context.add_variable("oldObject", old)
    context.add_variable("params", PARAMS)
    request = {
        "userInfo": {"username": by, "groups": [":".join(["system:serviceaccounts", by.split(":")[-2]])]},
        "operation": "UPDATE" if old else "CREATE",
        "resource": {"resource": resource},
        "namespace": "production",
    }
    context.add_variable("request", request)
    if not all(cel.evaluate(one["expression"], context) for one in spec.get("matchConditions", [])):
        return ""
    variables: Json = {}
    for one in spec.get("variables", []):
        context.add_variable("variables", variables)
        variables[one["name"]] = cel.evaluate(one["expression"], context)
    context.add_variable("variables", variables)
    for rule in spec["validations"]:
        if cel.evaluate(rule["expression"], context) is not True:
            return str(rule.get("message") or cel.evaluate(rule["messageExpression"], context))
    return ""


def export_job() -> Json:
    """As a delivery makes it."""
    (template,) = [one for one in OBJECTS if one["kind"] == "PodTemplate"]
    home = Path("/home/banana")
    shared = home / "artifacts" / "detector" / "7" / ".exporting-abc"
    pod = exporting(copy.deepcopy(template["template"]), ["order", "answer"], shared, home)
    job = job_of(pod, "banana-export-1", 60.0)
    assert sys.executable in str(job)
    return job


def pod(job: Json) -> Json:
    found: Json = job["spec"]["template"]["spec"]
    return found


def container(job: Json) -> Json:
    found: Json = pod(job)["containers"][0]
    return found


def test_the_export_of_a_delivery_is_let_in_as_the_delivery_makes_it() -> None:
    assert says("banana-delivery-exports", export_job()) == ""


STRANGE: dict[str, Callable[[Json], object]] = {
    "the daemon's account": lambda job: pod(job).update(serviceAccountName="dagster-daemon"),
    "no account, which is the default one": lambda job: pod(job).pop("serviceAccountName"),
    "a token": lambda job: pod(job).update(automountServiceAccountToken=True),
    "a token by default": lambda job: pod(job).pop("automountServiceAccountToken"),
    "another label, which lets it out": lambda job: job["spec"]["template"]["metadata"].update(labels={}),
    "no labels at all": lambda job: job["spec"]["template"].pop("metadata"),
    "a Secret as a volume": lambda job: pod(job)["volumes"].append({"name": "s", "secret": {"secretName": "keys"}}),
    "a projected token": lambda job: pod(job)["volumes"].append({"name": "s", "projected": {"sources": []}}),
    "the node's disk": lambda job: pod(job)["volumes"].append({"name": "s", "hostPath": {"path": "/"}}),
    "another claim": lambda job: pod(job)["volumes"].append(
        {"name": "s", "persistentVolumeClaim": {"claimName": "mlflow"}}
    ),
    "the whole home": lambda job: container(job)["volumeMounts"][-1].pop("subPath"),
    "another folder of the home": lambda job: container(job)["volumeMounts"][-1].update(subPath="dagster"),
    "a way out of its folder": lambda job: container(job)["volumeMounts"][-1].update(
        subPath="artifacts/.exporting-a/../.."
    ),
    "a variable from a Secret": lambda job: container(job).update(
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}]
    ),
    "all variables of a Secret": lambda job: container(job).update(envFrom=[{"secretRef": {"name": "keys"}}]),
    "a container before it": lambda job: pod(job).update(initContainers=[{"name": "i", "image": "evil"}]),
    "a container beside it": lambda job: pod(job)["containers"].append({"name": "i", "image": "evil"}),
    "the node's network": lambda job: pod(job).update(hostNetwork=True),
    "the node's processes": lambda job: pod(job).update(hostPID=True),
    "all of the node": lambda job: container(job).update(securityContext={"privileged": True}),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_run_that_was_taken_over_starts_nothing_that_may_more_than_an_export(what: str) -> None:
    job = export_job()
    STRANGE[what](job)
    assert says("banana-delivery-exports", job).startswith("what a run has started")
    assert says("banana-delivery-exports", job, by=DAEMON) == "", "whose Jobs are the runs"


@pytest.mark.parametrize(
    ("image", "lets"),
    [
        (RELEASE, True),
        (f"{REPOSITORY}:latest", False),
        (f"{REPOSITORY}@sha256:{'a' * 63}", False),
        (f"{REPOSITORY}@sha256:{'a' * 64}:7", False),
        (f"{REPOSITORY}-evil@sha256:{'a' * 64}", False),
        (f"registry.example.com/banana/x@sha256:{'a' * 64}", False),
        ("docker.io/istio/proxyv2:1.30", True),
        ("docker.io/istio/proxyv2-evil:1.30", False),
    ],
)
@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
def test_only_releases_run_whatever_kind_of_container_they_are(image: str, lets: bool, kind: str) -> None:
    spec = {"containers": [{"name": "api", "image": RELEASE}]}
    spec[kind] = [{"name": "x", "image": image}]
    for thing in ({"spec": spec}, {"spec": {"template": {"spec": spec}}}):
        said = says("banana-delivery-images", thing)
        assert (said == "") is lets
        assert lets or image in said
        assert says("banana-delivery-images", thing, old=thing) == "", "what ran before may stay"


@pytest.mark.parametrize(
    ("resource", "name", "lets"),
    [
        ("deployments", "banana-api-blue", True),
        ("deployments", "miner", False),
        ("services", "banana-api-service", True),
        ("configmaps", "banana-delivery-record", True),
        ("secrets", "banana-api-blue", False),
        ("pods", "banana-api-blue", False),
    ],
)
def test_the_pipeline_creates_what_bears_its_names(resource: str, name: str, lets: bool) -> None:
    thing = {
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"serviceAccountName": "banana-api", "containers": []}}},
    }
    assert (says("banana-delivery-names", thing, resource=resource) == "") is lets
    assert says("banana-delivery-names", thing, resource=resource, by="system:serviceaccount:team:ada") == ""


def test_what_the_pipeline_deploys_runs_as_an_account_that_may_do_nothing() -> None:
    def deployment(**spec: str) -> Json:
        return {"metadata": {"name": "banana-api-blue"}, "spec": {"template": {"spec": {"containers": [], **spec}}}}

    for spec in ({}, {"serviceAccountName": "default"}, {"serviceAccountName": "banana-delivery"}):
        for old in (None, deployment(serviceAccountName="banana-api")):
            assert "ServiceAccount banana-api" in says(
                "banana-delivery-names", deployment(**spec), resource="deployments", old=old
            )

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
from banana_delivery.names import COLOUR_KEY, ENVIRONMENT_KEY, NAME_KEY
from banana_delivery.policy.model import COLOURS, Colour, Deployment, Environment, ImageRef
from banana_delivery.publishing.jobs import PUBLISH
from banana_delivery.publishing.order import AT, FOLDER_PREFIX
from banana_delivery.targets.kubernetes.jobs.templates import container_in, job_of, see
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, deployment_of
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
    params: Json | None = None,
) -> str:
    """Why a policy refuses something; empty if it lets it in or is not about it."""
    spec = POLICIES[policy]
    context = cel.Context()
    context.add_function("split", lambda text, by: text.split(by))
    context.add_function("substring", lambda text, start: text[int(start) :])
    context.add_function("join", lambda texts, by: by.join(texts))
    context.add_variable("object", thing)
    context.add_variable("oldObject", old)
    context.add_variable("params", params or PARAMS)
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


def template_of(name: str) -> Json:
    (found,) = [one for one in OBJECTS if one["kind"] == "PodTemplate" and one["metadata"]["name"] == name]
    return copy.deepcopy(found)


def export_job() -> Json:
    """As a delivery makes it."""
    template = template_of("banana-delivery-export")
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


def publisher_job() -> Json:
    """As a delivery makes it."""
    home = Path("/home/banana")
    pod = template_of("banana-delivery-publisher")["template"]
    see(container_in(pod, PUBLISH), home / "artifacts" / "detector" / f"{FOLDER_PREFIX}abc", home, AT)
    return job_of(pod, "banana-publish-1", 60.0)


def of_the_publisher(job: Json) -> str:
    return says("banana-delivery-publisher", job, params=template_of("banana-delivery-publisher"))


def test_what_writes_into_the_registry_is_let_in_as_the_delivery_makes_it() -> None:
    assert of_the_publisher(publisher_job()) == ""
    asked = publisher_job()
    asked["spec"]["template"]["metadata"]["labels"] |= {"job-name": "banana-publish-1", "controller-uid": "0"}
    assert of_the_publisher(asked) == "", "as a server has made it when it asks"
    assert says("banana-delivery-exports", publisher_job()) == ""
    assert of_the_publisher(export_job()) == "", "for which there is another policy"


EXEC = {"exec": {"command": ["cat", "/run/signing/cosign.key"]}}
STOLEN: dict[str, Callable[[Json], object]] = {
    "a program of its own": lambda job: container(job).update(command=["cat", "/run/signing/cosign.key"]),
    "arguments": lambda job: container(job).update(args=["x"]),
    "another folder to start in": lambda job: container(job).update(workingDir="/tmp"),
    "another image": lambda job: container(job).update(image="evil"),
    "a variable that loads code": lambda job: container(job)["env"].append({"name": "PYTHONPATH", "value": "/order"}),
    "another repository": lambda job: container(job)["env"].append(
        {"name": "BANANA_REGISTRY_REPOSITORY", "value": "evil.example/banana"}
    ),
    "other Secrets": lambda job: container(job)["envFrom"].append({"secretRef": {"name": "dagster-postgres"}}),
    "no settings": lambda job: container(job).pop("envFrom"),
    "a hook at its start": lambda job: container(job).update(lifecycle={"postStart": EXEC}),
    "a probe that runs something": lambda job: container(job).update(livenessProbe=EXEC),
    "all of the node": lambda job: container(job).update(securityContext={"privileged": True}),
    "a container before it": lambda job: pod(job).update(initContainers=[{"name": "i", "image": "evil"}]),
    "a container beside it": lambda job: pod(job)["containers"].append(dict(container(job))),
    "the node's processes": lambda job: pod(job).update(hostPID=True),
    "the registry's name led elsewhere": lambda job: pod(job).update(hostAliases=[{"ip": "10.0.0.6"}]),
    "names asked for elsewhere": lambda job: pod(job).update(dnsConfig={"nameservers": ["10.0.0.6"]}),
    "a token": lambda job: pod(job).update(automountServiceAccountToken=True),
    "another volume": lambda job: pod(job)["volumes"].append({"name": "s", "secret": {"secretName": "keys"}}),
    "another claim by the same name": lambda job: pod(job)["volumes"][1].update(
        persistentVolumeClaim={"claimName": "mine"}
    ),
    "another label": lambda job: job["spec"]["template"]["metadata"]["labels"].update({"app": "dagster"}),
    "the label of a run": lambda job: job["spec"]["template"]["metadata"]["labels"].update(
        {"app.kubernetes.io/name": "banana-delivery-run"}
    ),
    "no labels": lambda job: job["spec"]["template"].pop("metadata"),
    "the whole home": lambda job: container(job)["volumeMounts"][-1].pop("subPath"),
    "another folder of the home": lambda job: container(job)["volumeMounts"][-1].update(subPath="artifacts/detector/7"),
    "a way out of its folder": lambda job: container(job)["volumeMounts"][-1].update(
        subPath=f"artifacts/{FOLDER_PREFIX}a/../.."
    ),
    "its folder where the code is": lambda job: container(job)["volumeMounts"][-1].update(mountPath="/app"),
    "its folder twice": lambda job: container(job)["volumeMounts"].append(
        {**container(job)["volumeMounts"][-1], "mountPath": "/opt/venv"}
    ),
    "no folder": lambda job: container(job)["volumeMounts"].pop(),
    "the key where it can be read": lambda job: container(job)["volumeMounts"][1].update(mountPath="/order"),
}


@pytest.mark.parametrize("what", STOLEN)
def test_a_run_that_was_taken_over_has_nothing_done_with_the_login_and_the_key_but_orders(what: str) -> None:
    job = publisher_job()
    STOLEN[what](job)
    assert of_the_publisher(job).startswith("what writes into the registry for a run")


def test_without_the_account_it_is_an_export_or_nothing() -> None:
    for account in ("banana-delivery-export", "dagster-daemon"):
        job = publisher_job()
        pod(job).update(serviceAccountName=account)
        assert of_the_publisher(job) == ""
        assert says("banana-delivery-exports", job).startswith("what a run has started")


def rendered_template(name: str) -> Json:
    text = (K8S / "base/replicas/pod-template.yaml").read_text()
    (found,) = [one for one in yaml.safe_load_all(text) if one["kind"] == "PodTemplate"]
    found["metadata"]["name"] = name
    found["template"]["metadata"]["labels"] |= COLOURED
    return dict(found)


COLOURED = {NAME_KEY: "banana-api", ENVIRONMENT_KEY: "production", COLOUR_KEY: "blue"}
PRODUCTION = EnvironmentNamespace(Environment.PRODUCTION, "production")


def release(digest: str = "a") -> Json:
    """As the pipeline makes it."""
    image = ImageRef(repository=REPOSITORY, digest=f"sha256:{digest * 64}", version="7", key="k")
    running = Deployment(image=image, replicas=2)
    template = rendered_template("banana-api-blue")
    return deployment_of(PRODUCTION, Colour.BLUE, template, running, token="t", fault="broken")


def of_the_templates(thing: Json, old: Json | None = None, name: str = "banana-api-blue") -> str:
    policy, params = "banana-delivery-templates", rendered_template(name)
    return says(policy, thing, resource="deployments", old=old, params=params)


def test_a_release_is_let_in_as_the_pipeline_deploys_it() -> None:
    assert of_the_templates(release()) == ""
    assert of_the_templates(release(), release("b")) == ""
    assert of_the_templates(release(), name="banana-api-green") == "", "which is asked about its own"


OTHERWISE: dict[str, Callable[[Json], object]] = {
    "a program of its own": lambda job: container(job).update(command=["python", "-c", "import evil"]),
    "arguments": lambda job: container(job).update(args=["x"]),
    "a variable that loads code": lambda job: container(job)["env"].append({"name": "PYTHONPATH", "value": "/x"}),
    "a Secret as one of ours": lambda job: container(job)["env"].append(
        {"name": "FAULT", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    ),
    "all variables of a Secret": lambda job: container(job).update(envFrom=[{"secretRef": {"name": "keys"}}]),
    "the record as a volume": lambda job: pod(job)["volumes"].append(
        {"name": "code", "configMap": {"name": "banana-delivery-record"}}
    ),
    "a mount where the code is": lambda job: container(job)["volumeMounts"].append(
        {"name": pod(job)["volumes"][0]["name"], "mountPath": "/app"}
    ),
    "a hook": lambda job: container(job).update(lifecycle={"postStart": EXEC}),
    "a probe that runs something": lambda job: container(job).update(livenessProbe=EXEC),
    "all of the node": lambda job: container(job).update(securityContext={"privileged": True}),
    "the node's network": lambda job: pod(job).update(hostNetwork=True),
    "a container before it": lambda job: pod(job).update(initContainers=[{"name": "i", "image": RELEASE}]),
    "a container beside it": lambda job: pod(job)["containers"].append({"name": "i", "image": RELEASE}),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_a_release_runs_as_its_template_says_whatever_its_image(what: str) -> None:
    before, now = release(), release()
    OTHERWISE[what](now)
    for old in (None, before):
        assert of_the_templates(now, old).startswith("what the pipeline deploys as banana-api-blue is not as")
    assert of_the_templates(now, copy.deepcopy(now)) == "", "it is scaled, and stays what it was"


def test_a_deployment_of_another_environment_is_not_made_here() -> None:
    thing = release()
    thing["metadata"]["name"] = "banana-api-staging"
    assert "there is no PodTemplate" in of_the_templates(thing)
    assert "there is no PodTemplate" in of_the_templates(release(), name="banana-api-staging")


def test_each_environment_is_asked_by_its_own_templates() -> None:
    bindings = [
        one["spec"]
        for one in yaml.safe_load_all((K8S / "components/only-our-images/policies.yaml").read_text())
        if one["kind"] == "ValidatingAdmissionPolicyBinding" and one["spec"].get("paramRef", {}).get("name") != IMAGES
    ]
    asked = {
        (namespace, one["paramRef"]["name"])
        for one in bindings
        for rule in one["matchResources"]["namespaceSelector"]["matchExpressions"]
        for namespace in rule["values"]
        if "paramRef" in one
    }
    assert {one["paramRef"]["parameterNotFoundAction"] for one in bindings if "paramRef" in one} == {"Deny"}
    assert asked == {
        ("banana-delivery", "banana-delivery-publisher"),
        *((place.name, place.object_name(colour)) for place in PLACES for colour in COLOURS[place.environment]),
    }


IMAGES = "banana-delivery-images"
PLACES = [EnvironmentNamespace(environment, str(environment)) for environment in Environment]


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

"""Working on a real cluster from a test: kubectl, and the target that is tested."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import yaml
from kubernetes.client import AppsV1Api, CoreV1Api
from kubernetes.client.exceptions import NotFoundException
from kubernetes.config import new_client_from_config

from banana_delivery.names import GENERATION_KEY, RECORD_KEY
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Claim, Readiness
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.gateway import PROBE_ROUTE, USER_ROUTE
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from banana_delivery.targets.kubernetes.record_copy import NAME
from banana_delivery.targets.kubernetes.target import KubernetesTarget, kubernetes_target
from tests.support.claims import steal

ROOT = Path(__file__).parents[2]
PRODUCTION = Environment.PRODUCTION
Way = Literal["gateway", "endpoints"]
AT_ONCE = ("--grace-period=0", "--force", "--wait=false")
"""How to delete pods without their graceful end."""
VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
"""The oldest and the newest for which manifests without a component are made, and one in between."""


def until(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.2)


def is_going(pod: Json) -> bool:
    """Whether a pod was told to end; it is listed until it has."""
    return "deletionTimestamp" in pod["metadata"]


class Cluster:
    """The cluster that KUBECONFIG leads to."""

    def __init__(self) -> None:
        self.api = KubernetesApi()
        self.kubeconfig = os.environ["KUBECONFIG"]
        self._client = new_client_from_config(self.kubeconfig)

    @property
    def is_older(self) -> bool:
        """Whether the server lacks what manifests without a component need, as all before 1.23 do."""
        return self.api.get("/apis/autoscaling/v2") is None

    @property
    def manifests(self) -> str:
        """The folder of the small cluster's manifests for this server."""
        return "k8s/overlays/dev/older-api" if self.is_older else "k8s/overlays/dev"

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl; returns what it printed."""
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin, timeout=120)
        assert not check or ran.returncode == 0, f"kubectl {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def get(self, *arguments: str) -> Any:
        """What `kubectl get ... -o json` says."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, folder: str, *options: str) -> str:
        """Apply manifests as a platform engineer does."""
        return self.kubectl("apply", *options, "-k", str(ROOT / folder))

    def rendered(self, folder: str) -> list[dict[str, Any]]:
        """The objects of a folder of k8s/, as they would be applied."""
        return list(yaml.safe_load_all(self.kubectl("kustomize", str(ROOT / "k8s" / folder))))

    def target(self, routing: Way, **settings: Any) -> KubernetesTarget:
        """The target, as the pipeline would make it."""
        return kubernetes_target(
            Settings(
                target="kubernetes",
                kubernetes_routing=routing,
                kubernetes_router_metrics_url=os.environ["GATEWAY_METRICS_URL"],
                **settings,
            )
        )

    def reset(self) -> None:
        """Forget every release; the manifests stay.

        Before nearly every test, so by a connection that is there already: five kubectls take as many seconds.
        """
        for environment in Environment:
            self._take_down(str(environment))
            self._forget(EnvironmentNamespace(environment, str(environment)))
        # A ReplicaSet that is told to go may have made one more pod meanwhile.
        until(lambda: not sum(self._take_down(str(each)) for each in Environment), "the end of old pods")

    def _take_down(self, namespace: str) -> int:
        """Delete what replicas run from, and them at once; returns how many are still listed."""
        ours = {"label_selector": "app.kubernetes.io/name=banana-api"}
        apps, core = AppsV1Api(self._client), CoreV1Api(self._client)
        apps.delete_collection_namespaced_deployment(namespace, **ours)
        apps.delete_collection_namespaced_replica_set(namespace, **ours)
        core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0, **ours)
        return len(core.list_namespaced_pod(namespace, **ours).items)

    def _forget(self, place: EnvironmentNamespace) -> None:
        with suppress(NotFoundException):
            CoreV1Api(self._client).delete_namespaced_config_map(NAME, place.name)
        annotations = {"annotations": {RECORD_KEY: None, GENERATION_KEY: None}}
        ours = {"selector": None} if place.environment is PRODUCTION else {}
        self.api.patch(place.service(place.users_service), {"metadata": annotations, "spec": ours})
        for colour in COLOURS[place.environment]:
            self.api.patch(place.autoscaler(colour), {"spec": {"minReplicas": 1}})
        if place.environment is PRODUCTION:
            for route in (USER_ROUTE, PROBE_ROUTE):
                self.api.patch(place.route(route), {"metadata": annotations, "spec": {"rules": None}})

    def edit_route(self, weights: dict[Colour, int]) -> None:
        """Change the weights of production's users behind the Gateway by hand."""
        backends = [
            {"name": f"banana-api-{colour}", "port": 80, "weight": weight} for colour, weight in weights.items()
        ]
        patch = [{"op": "replace", "path": "/spec/rules/0/backendRefs", "value": backends}]
        self.kubectl("patch", "httproute", "banana-api", "-n", "production", "--type=json", "-p", json.dumps(patch))

    def pods(self, namespace: str, colour: str = "") -> list[Any]:
        """The pods of a namespace, or of one colour in it."""
        selector = f"banana-delivery/colour={colour}" if colour else "banana-delivery/colour"
        return list(self.get("pods", "-n", namespace, "-l", selector)["items"])


class Production:
    """A claimed production, and the moves of a release on it."""

    def __init__(self, target: KubernetesTarget, owner: str = "a test", *, takeover: bool = False) -> None:
        self.target = target
        self.claim: Claim = steal(target, PRODUCTION, owner) if takeover else target.claim(PRODUCTION, owner)

    def deploy(self, colour: Colour, image: ImageRef, replicas: int = 1) -> None:
        """Deploy and wait."""
        self.target.deploy(self.claim, colour, image, replicas)
        self.wait(colour)

    def scale(self, colour: Colour, replicas: int) -> None:
        """Scale and wait."""
        self.target.scale(self.claim, colour, replicas)
        self.wait(colour)

    def wait(self, colour: Colour) -> Readiness:
        """Until every replica asked for answers."""
        until(lambda: self.readiness(colour).complete, f"{colour} ready")
        return self.readiness(colour)

    def readiness(self, colour: Colour) -> Readiness:
        """How far a colour is; giving up at once when it is hopeless."""
        now = self.target.readiness(PRODUCTION, colour)
        assert not now.failure, now.failure
        return now

    def weigh(self, colour: Colour, percent: int) -> None:
        """Give a colour its share, and the other one the rest."""
        self.target.set_weights(self.claim, {colour: percent, colour.other: 100 - percent})

    def promote(self, colour: Colour) -> None:
        """Make a colour the active one."""
        self.target.write(self.claim, self.target.record(PRODUCTION).replace(active=colour))

    def first_release(self, image: ImageRef, replicas: int = 1) -> None:
        """Blue has everything."""
        self.deploy(Colour.BLUE, image, replicas)
        self.target.set_weights(self.claim, {Colour.BLUE: 100})
        self.promote(Colour.BLUE)

    def end(self) -> None:
        """Give production back."""
        self.target.release(self.claim)


class Routed:
    """An empty production with one of the two ways of routing."""

    def __init__(self, cluster: Cluster, way: Way) -> None:
        self.cluster = cluster
        self.way: Way = way
        self.target = cluster.target(way)

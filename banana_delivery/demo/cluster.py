"""The demonstration's part of a Kubernetes cluster: two namespaces that it makes and removes, and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import httpx
import yaml

from banana_delivery.bundle import MANIFESTS
from banana_delivery.errors import DemoError
from banana_delivery.names import DEMO_KEY, URL_KEY
from banana_delivery.policy.model import Environment
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import GATEWAY_API, annotate
from banana_delivery.waiting import wait_until

NAMESPACES = {Environment.STAGING: "banana-demo-staging", Environment.PRODUCTION: "banana-demo-production"}
"""The label that says that a namespace is the demonstration's; without it, it is somebody's."""
NEWER_API = "/apis/autoscaling/v2"
"""A server that lacks it, as all before 1.23, gets the manifests for older ones."""
KUBECTL_SECONDS = 300
UNROUTED_SECONDS = 5.0


class DemoCluster:
    """An empty staging and production on the cluster that KUBECONFIG leads to.

    Args:
        gateway: where the cluster's Traefik answers, ``http://host:port``.
        progress: told what happens.
    """

    def __init__(self, gateway: str, progress: Callable[[str], None]) -> None:
        self._gateway = httpx.URL(gateway)
        self._progress = progress
        self._api = KubernetesApi()

    def prepare(self) -> None:
        """Remove what an earlier demonstration left and make everything anew.

        Raises:
            DemoError: if something is missing, or a namespace or the Gateway's address is somebody else's.
        """
        if not self._gateway.host:
            raise DemoError("Say where the cluster's Gateway answers: --gateway http://host:port, or set GATEWAY_URL.")
        if "KUBECONFIG" not in os.environ:
            # The file that kubectl would take by itself may lead to a cluster in use.
            raise DemoError("KUBECONFIG is not set; set it to the kubeconfig of the cluster to play on.")
        for name in NAMESPACES.values():
            self._check_ours(name)
        self.remove(wait=True)
        self._check_unrouted()
        self._progress(f"making namespaces {', '.join(NAMESPACES.values())}")
        _kubectl("apply", "-f", "-", stdin=self._manifests())

    def remove(self, *, wait: bool = False) -> None:
        """Delete both namespaces and all that is in them."""
        self._progress(f"removing namespaces {', '.join(NAMESPACES.values())}, if they are there")
        names = NAMESPACES.values()
        _kubectl("delete", "namespace", *names, "--ignore-not-found", f"--wait={str(wait).lower()}")

    def _check_ours(self, name: str) -> None:
        found = self._api.get(f"/api/v1/namespaces/{name}")
        if found and DEMO_KEY not in found["metadata"].get("labels", {}):
            raise DemoError(
                f"Namespace {name} exists and is not the demonstration's: it lacks the label {DEMO_KEY}. Nothing was "
                "touched; play on another cluster."
            )

    def _check_unrouted(self) -> None:
        """Come between nobody and his users: the address must lead nowhere, once our own route is gone."""
        wait_until(
            self._answer,
            UNROUTED_SECONDS,
            lambda said: DemoError(
                f"{self._gateway} leads somewhere already (it answers {said}): {self._routes()} may be why. "
                "Nothing was touched; delete that if nobody needs it, or name another Gateway."
            ),
            done=lambda said: said == httpx.codes.NOT_FOUND,
            pause=0.2,
        )

    def _answer(self) -> int:
        try:
            return httpx.get(self._gateway.join("/version"), timeout=5.0, trust_env=False).status_code
        except httpx.HTTPError as error:
            raise DemoError(
                f"The Gateway at {self._gateway} does not answer ({error!r}); is GATEWAY_URL right?"
            ) from error

    def _routes(self) -> str:
        """The routes that take every host name."""
        found = (self._api.get(f"{GATEWAY_API}/httproutes") or {"items": []})["items"]
        names = [route["metadata"] for route in found if not route["spec"].get("hostnames")]
        return ", ".join(f"HTTPRoute {name['namespace']}/{name['name']}" for name in names) or "something else"

    def _manifests(self) -> str:
        """The demonstration's overlay for this server, with the addresses at which it is reached."""
        older = self._api.get(NEWER_API) is None
        folder = MANIFESTS / "overlays" / ("demo/older-api" if older else "demo")
        things = list(yaml.safe_load_all(_kubectl("kustomize", str(folder))))
        for thing in things:
            address(thing, self._gateway)
        return str(yaml.safe_dump_all(things))


def address(thing: Json, gateway: httpx.URL) -> None:
    """Say where a Gateway, a route or a port of the node is reached, in place."""
    if thing["kind"] == "Gateway":
        for listener in thing["spec"]["listeners"]:
            listener["port"] = gateway.port or 80
    if thing["kind"] == "HTTPRoute":
        annotate(thing, URL_KEY, str(gateway))
    if thing["kind"] == "Service" and "nodePort" in thing["spec"]["ports"][0]:
        annotate(thing, URL_KEY, f"http://{gateway.host}:{thing['spec']['ports'][0]['nodePort']}")


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl; returns what it printed.

    Raises:
        DemoError: if there is none, or with its own last words if it fails.
    """
    try:
        done = subprocess.run(
            ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise DemoError("There is no kubectl on the PATH; install it to play on a cluster.") from error
    if done.returncode != 0:
        raise DemoError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout

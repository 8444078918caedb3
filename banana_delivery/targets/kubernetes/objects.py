"""What things are called in a cluster, and the Deployment that the pipeline makes. Pure: JSON in, JSON out.

The manifests in ``k8s/`` use the same names; ``tests/cluster/test_manifests.py`` holds both together.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from pydantic import ValidationError

from banana_delivery.names import COLOUR_KEY, DOMAIN, ENVIRONMENT_KEY, IMAGE_KEY, NAME_KEY, REPLICAS_KEY, VERSION_KEY
from banana_delivery.policy.model import Colour, Deployment, Environment, ImageRef
from banana_delivery.targets.kubernetes.api import Json

CONTAINER = "api"
USERS_PORT = "http"
INTERNAL_PORT = "internal"
"""What the PodTemplates call the container's ports."""
PROBE_VARIABLE = "PROBE_TOKEN"
"""The serving application's variable; an image that does not know it takes everybody's word, as it ever did."""
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"

# Nobody loses a request while pods are replaced: the new one is ready before an old one goes.
STRATEGY: Json = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


@dataclass(frozen=True)
class EnvironmentNamespace:
    """One environment's namespace: the API paths of everything in it."""

    environment: Environment
    name: str

    def object_name(self, colour: Colour) -> str:
        """Of a colour's Deployment, PodTemplate, Service and autoscaler."""
        return f"banana-api-{self.environment if colour is Colour.SOLE else colour}"

    def template(self, colour: Colour) -> str:
        """The PodTemplate that a colour's Deployment is made from."""
        return f"{self._core}/podtemplates/{self.object_name(colour)}"

    @property
    def deployments(self) -> str:
        """Where Deployments are created."""
        return f"/apis/apps/v1/namespaces/{self.name}/deployments"

    def deployment(self, colour: Colour) -> str:
        """A colour's Deployment."""
        return f"{self.deployments}/{self.object_name(colour)}"

    def autoscaler(self, colour: Colour) -> str:
        """A colour's HorizontalPodAutoscaler, in the version that every server has."""
        return f"/apis/autoscaling/v1/namespaces/{self.name}/horizontalpodautoscalers/{self.object_name(colour)}"

    @property
    def pods(self) -> str:
        """All pods of the namespace."""
        return f"{self._core}/pods"

    def pod(self, name: str) -> str:
        """One pod."""
        return f"{self.pods}/{name}"

    def metrics(self, pod: str, port: int) -> str:
        """A pod's own metrics, through the API server."""
        return f"{self.pods}/{pod}:{port}/proxy/metrics"

    @property
    def config_maps(self) -> str:
        """Where ConfigMaps are created."""
        return f"{self._core}/configmaps"

    def config_map(self, name: str) -> str:
        """One ConfigMap."""
        return f"{self.config_maps}/{name}"

    def service(self, name: str) -> str:
        """One Service."""
        return f"{self._core}/services/{name}"

    def endpoints(self, name: str) -> str:
        """What a Service leads to."""
        return f"{self._core}/endpoints/{name}"

    def route(self, name: str) -> str:
        """One HTTPRoute."""
        return f"{GATEWAY_API}/namespaces/{self.name}/httproutes/{name}"

    @property
    def users_service(self) -> str:
        """Name of the Service that clients inside the cluster use; without a Gateway, all users."""
        return "banana-api-staging-service" if self.environment is Environment.STAGING else "banana-api-service"

    @property
    def labels(self) -> dict[str, str]:
        """What every replica of the environment carries."""
        return {NAME_KEY: "banana-api", ENVIRONMENT_KEY: str(self.environment)}

    def selector(self, colour: Colour | None = None) -> str:
        """Label selector of the replicas of an environment, or of one colour of it."""
        return selector_text({**self.labels, COLOUR_KEY: str(colour)} if colour else self.labels)

    @property
    def _core(self) -> str:
        return f"/api/v1/namespaces/{self.name}"


def deployment_of(
    place: EnvironmentNamespace, colour: Colour, template: Json, release: Deployment, *, token: str, fault: str
) -> Json:
    """The Deployment of a release: the platform's PodTemplate plus what the pipeline decides.

    Args:
        place: where it runs.
        colour: which set of replicas.
        template: the PodTemplate as read.
        release: image and replicas.
        token: what the probe proves itself by to these replicas.
        fault: the serving application's rehearsal switch; empty in earnest.
    """
    pod = copy.deepcopy(template["template"])
    pod["metadata"].setdefault("annotations", {})[VERSION_KEY] = release.image.version
    container = container_of(pod["spec"])
    container["image"] = release.image.pinned
    own = {"IMAGE_DIGEST": release.image.digest, PROBE_VARIABLE: token, **({"FAULT": fault} if fault else {})}
    kept = [variable for variable in container.get("env", []) if variable["name"] not in {*own, "FAULT"}]
    container["env"] = kept + [{"name": name, "value": value} for name, value in own.items()]
    labels = pod["metadata"]["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": place.object_name(colour),
            "namespace": place.name,
            "labels": {**labels, "app.kubernetes.io/managed-by": DOMAIN},
            "annotations": {REPLICAS_KEY: str(release.replicas), IMAGE_KEY: release.image.key},
        },
        "spec": {
            "replicas": release.replicas,
            "revisionHistoryLimit": 3,
            "strategy": STRATEGY,
            "selector": {"matchLabels": {key: labels[key] for key in (NAME_KEY, ENVIRONMENT_KEY, COLOUR_KEY)}},
            "template": pod,
        },
    }


def selector_text(labels: dict[str, str]) -> str:
    """Labels as the API server is asked for them."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def container_of(spec: Json) -> Json:
    """The serving container of a pod's spec; a sidecar that a mesh adds is somebody else's."""
    found: Json = next(container for container in spec["containers"] if container["name"] == CONTAINER)
    return found


def release_in(deployment: Json) -> ImageRef | None:
    """The release that a Deployment runs, as far as it says; None if it is not pinned by digest."""
    repository, _, digest = image_in(deployment).partition("@")
    version = annotation(deployment["spec"]["template"], VERSION_KEY)
    try:
        return ImageRef(repository=repository, digest=digest, version=version, key=annotation(deployment, IMAGE_KEY))
    except ValidationError:
        return None


def image_in(deployment: Json) -> str:
    """The image that a Deployment names."""
    return str(container_of(deployment["spec"]["template"]["spec"])["image"])


def token_of(deployment: Json | None) -> str:
    """What the probe proves itself by to a Deployment's replicas; empty for none, or one that was made without."""
    variables = container_of(deployment["spec"]["template"]["spec"]).get("env", []) if deployment else []
    return next((str(one.get("value", "")) for one in variables if one["name"] == PROBE_VARIABLE), "")


def digest_in(deployment: Json) -> str:
    """The digest that a Deployment runs; the whole reference if somebody put one there that is not pinned."""
    image = image_in(deployment)
    return image.partition("@")[2] or image


def asked_replicas(deployment: Json) -> int:
    """How many replicas the pipeline asked for the last time."""
    return int(annotation(deployment, REPLICAS_KEY) or 0)


def annotation(thing: Json, key: str) -> str:
    """An annotation, empty if absent."""
    return str((thing["metadata"].get("annotations") or {}).get(key, ""))


def annotate(thing: Json, key: str, value: str) -> None:
    """Set an annotation in place."""
    thing["metadata"].setdefault("annotations", {})[key] = value


def port_of(service: Json) -> int:
    """The port of a Service."""
    return int(service["spec"]["ports"][0]["port"])


def metrics_ports(pod: Json) -> list[int]:
    """The ports on which a pod's serving container may show its metrics, the likely one first.

    Its internal port, where the pod has one; but an image that was built before there was such a port shows everything
    where it answers users, and so does every pod of a template without one.
    """
    ports = [(port.get("name", ""), int(port["containerPort"])) for port in container_of(pod["spec"])["ports"]]
    internal = [port for name, port in ports if name == INTERNAL_PORT]
    others = [port for name, port in ports if name != INTERNAL_PORT]
    users = [port for name, port in ports if name == USERS_PORT] or others
    return [*internal[:1], *users[:1]]

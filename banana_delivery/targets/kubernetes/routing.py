"""How user traffic reaches the colours of an environment: what every way of routing can do, and staging's way."""

from __future__ import annotations

from abc import ABC, abstractmethod

import httpx
from typing_extensions import override

from banana_delivery.errors import TargetError
from banana_delivery.names import URL_KEY
from banana_delivery.policy.model import Colour
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, annotation, port_of


class Routing(ABC):
    """Splits user traffic between colours by changing the object that carries the environment's record.

    Attributes:
        api: the cluster.
        place: the environment's namespace.
        carrier: API path of the object that carries weights and record.
    """

    owned = ""
    """The part of the carrier's spec that is the pipeline's, and in no manifest; empty if there is none."""

    def __init__(self, api: KubernetesApi, place: EnvironmentNamespace, carrier: str) -> None:
        self.api = api
        self.place = place
        self.carrier = carrier

    def mend(self, carrier: Json, copied: Json) -> None:
        """Bring back what is the pipeline's on a carrier that somebody replaced, from the carrier as it was."""
        if self.owned and self.owned in copied["spec"]:
            carrier["spec"][self.owned] = copied["spec"][self.owned]

    def main(self) -> Colour | None:
        """The colour to which something beside the carrier leads as a whole; None if nothing does."""
        return None

    def initialise(self, carrier: Json) -> None:  # noqa: B027 - for routings that start open
        """Change the carrier in place, when an environment is claimed, so that nobody gets in uninvited."""

    def fence(self, generation: int) -> None:  # noqa: B027 - for routings with more than the carrier
        """Make writes of older generations to anything beside the carrier fail."""

    def prepare(self, weights: dict[Colour, int], generation: int) -> Json:  # noqa: ARG002 - for those that must
        """Whatever has to be done before the carrier can be changed; the answer is handed to ``apply``."""
        return {}

    @abstractmethod
    def apply(self, carrier: Json, weights: dict[Colour, int], prepared: Json) -> None:
        """Change the carrier in place so that it asks for these weights."""

    def wait_applied(self, carrier: Json, prepared: Json) -> None:  # noqa: B027 - for routings that take their time
        """Wait until the carrier, as stored, has come true.

        Raises:
            TargetError: if it does not in time.
        """

    def sync_service(self, weights: dict[Colour, int], generation: int) -> None:  # noqa: B027 - for those with more
        """Bring along whatever else leads users to a colour, once the carrier has come true."""

    @abstractmethod
    def weights(self, carrier: Json) -> dict[Colour, int]:
        """Percent of user traffic by colour that the carrier asks for; all zero before the first release."""

    def shares(self, carrier: Json) -> dict[Colour, float]:
        """Percent of user traffic by colour that the cluster can really give for these weights."""
        return {colour: float(weight) for colour, weight in self.weights(carrier).items()}

    def carried(self, carrier: Json) -> dict[Colour, float]:
        """Percent of user traffic that may reach a colour: what is asked for or given, whichever is more."""
        given = self.shares(carrier)
        return {colour: max(weight, given.get(colour, 0.0)) for colour, weight in self.weights(carrier).items()}

    @abstractmethod
    def url(self) -> str:
        """Where users reach the environment."""

    @abstractmethod
    def probe_url(self, colour: Colour) -> str:
        """The internal way to one colour."""

    def check_url(self, colour: Colour) -> str:
        """Where evidence of a colour is gathered before it gets users."""
        return self.probe_url(colour)

    def service_url(self, name: str) -> str:
        """Where a Service answers: what its annotation says, else its address inside the cluster.

        Raises:
            TargetError: if it does not exist.
        """
        service = self.api.get(self.place.service(name))
        if service is None:
            raise TargetError(f"Service {self.place.name}/{name} does not exist; apply the manifests in k8s/.")
        address = service["spec"]["clusterIP"]
        host = f"[{address}]" if ":" in address else address
        return (annotation(service, URL_KEY) or f"http://{host}:{port_of(service)}").rstrip("/")


class SoleRouting(Routing):
    """Staging: one colour behind one Service, which carries the record."""

    def __init__(self, api: KubernetesApi, place: EnvironmentNamespace) -> None:
        super().__init__(api, place, place.service(place.users_service))

    @override
    def apply(self, carrier: Json, weights: dict[Colour, int], prepared: Json) -> None:
        """There is nobody to share with."""

    @override
    def weights(self, carrier: Json) -> dict[Colour, int]:
        """Everything."""
        return {Colour.SOLE: 100}

    @override
    def url(self) -> str:
        """The Service."""
        return self.service_url(self.place.users_service)

    @override
    def probe_url(self, colour: Colour) -> str:
        """A Service of its own to the same replicas."""
        return self.service_url(self.place.object_name(colour))

    @override
    def check_url(self, colour: Colour) -> str:
        """Where its users are, who are testers."""
        return self.url()


def digest_at(url: str) -> str:
    """The digest that answers at an address, or what went wrong instead."""
    try:
        answer = httpx.get(f"{url}/ready", timeout=2.0, trust_env=False, verify=httpx.create_ssl_context())
    except httpx.HTTPError as error:
        return str(error) or repr(error)
    return answer.headers.get("X-Image-Digest", "") if answer.is_success else f"HTTP {answer.status_code}"

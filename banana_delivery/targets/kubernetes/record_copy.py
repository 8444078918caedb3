"""The second copy of a record: a ConfigMap that is in nobody's manifests, with the object that carried the record.

It bears no label by which manifests are pruned and is in no manifest that could replace it, so whoever replaces or
deletes the route leaves it. It holds the route without its status: what is needed to make it again.
"""

from __future__ import annotations

import json
import logging

from banana_delivery.errors import ConflictError, TargetError
from banana_delivery.names import DOMAIN, RECORD_KEY
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from banana_delivery.targets.restoring import Found, KeptRecord, parsed

NAME = "banana-delivery-record"
RECORD, CARRIER = "record.json", "carrier.json"
CONFLICTS = 5
_METADATA = ("name", "namespace", "labels", "annotations")
_GIVEN = ("clusterIP", "clusterIPs", "healthCheckNodePort")
"""What the API server gives to a Service, and gives anew."""

_log = logging.getLogger(__name__)


class RecordCopy:
    """The copy of one environment's record.

    Args:
        api: the cluster.
        place: the environment's namespace.
    """

    def __init__(self, api: KubernetesApi, place: EnvironmentNamespace) -> None:
        self._api = api
        self._place = place
        self._version = ""
        """The resourceVersion that this process knows; empty before it has read or written."""
        self._complained = ""

    def read(self) -> tuple[Found, Json | None]:
        """The copy, and the object that carried the record; None if that is not known."""
        where = f"its copy in ConfigMap {self._place.name}/{NAME}"
        try:
            found = self._api.get(self._place.config_map(NAME))
        except TargetError as error:
            return Found(where, fault=str(error).rstrip(".")), None
        if found is None:
            self._version = ""
            return Found(where), None
        self._version = str(found["metadata"].get("resourceVersion", ""))
        data = found.get("data") or {}
        try:
            manifest = json.loads(data.get(CARRIER, "null"))
        except ValueError:
            manifest = None
        copied = parsed(where, data[RECORD]) if data.get(RECORD) else Found(where)
        return copied, manifest if isinstance(manifest, dict) else None

    def write(self, record: KeptRecord, carrier: Json) -> None:
        """Bring the copy along after the record was written; one request if nobody else has written meanwhile.

        What goes wrong is logged and no more: the record holds, and its next write brings the copy along.
        """
        try:
            self._write(record, carrier)
            self._complained = ""
        except TargetError as error:
            if str(error) != self._complained:
                self._complained = str(error)
                _log.warning("The record of %s has no copy that is up to date: %s", record.environment, error)

    def _write(self, record: KeptRecord, carrier: Json) -> None:
        for _ in range(CONFLICTS):
            if self._attempt({RECORD: record.model_dump_json(), CARRIER: json.dumps(manifest_of(carrier))}):
                return
            present, _ = self.read()
            if present.order >= record.order:
                return  # Somebody else's write came after ours, and its copy before.
        raise ConflictError(f"ConfigMap {self._place.name}/{NAME} was changed by others {CONFLICTS} times in a row.")

    def _attempt(self, data: dict[str, str]) -> bool:
        """Whether the copy could be written as it was last known."""
        known = {"resourceVersion": self._version} if self._version else {}
        try:
            stored = self._api.patch(self._place.config_map(NAME), {"metadata": known, "data": data})
            if stored is None:
                stored = self._api.create(self._place.config_maps, self._new(data))
        except ConflictError:
            return False
        self._version = str(stored["metadata"].get("resourceVersion", ""))
        return True

    def _new(self, data: dict[str, str]) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": self._place.name,
                "labels": {"app.kubernetes.io/managed-by": DOMAIN},
            },
            "data": data,
        }


def manifest_of(carrier: Json) -> Json:
    """An object as it can be made again: without its record, its status, and what the API server gave it."""
    metadata = {key: carrier["metadata"][key] for key in _METADATA if key in carrier["metadata"]}
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {key: value for key, value in annotations.items() if key != RECORD_KEY}
    spec = {key: value for key, value in carrier.get("spec", {}).items() if key not in _GIVEN}
    named: Json = {key: carrier[key] for key in ("apiVersion", "kind") if key in carrier}
    return {**named, "metadata": metadata, "spec": spec}

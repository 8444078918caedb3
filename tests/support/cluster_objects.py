"""Kubernetes objects in memory, with the calls of the product's client: for records that a real cluster once held.

Deployments get pods that are ready at once, and Services get endpoints. There is no router and nothing runs.
"""

from __future__ import annotations

import copy
from typing import Any

from banana_delivery.errors import ConflictError

Json = dict[str, Any]


class ClusterObjects:
    """The objects.

    Args:
        objects: what is there, by API path.
    """

    def __init__(self, objects: dict[str, Json]) -> None:
        self.objects = copy.deepcopy(objects)
        self._written = 1000

    def get(self, path: str, **query: str) -> Json | None:
        """One object, or those of a collection that carry all labels; None if there is no such object."""
        collection = path.rpartition("/")[2]
        if collection == "pods":
            wanted = _labels(query.get("labelSelector", ""))
            return {"items": [pod for pod in self._pods(path) if wanted.items() <= pod["metadata"]["labels"].items()]}
        if path.rpartition("/")[0].endswith("/endpoints"):
            return self._endpoints(path)
        return copy.deepcopy(self.objects.get(path))

    def create(self, path: str, body: Json) -> Json:
        """Add an object to a collection."""
        full = f"{path}/{body['metadata']['name']}"
        if full in self.objects:
            raise ConflictError(f"{full} exists.")
        return self._store(full, body)

    def replace(self, path: str, body: Json) -> Json:
        """Write an object back, unless it was changed since it was read."""
        self._check(path, body)
        return self._store(path, body)

    def _check(self, path: str, body: Json) -> None:
        meant = body.get("metadata", {}).get("resourceVersion")
        if meant and meant != self.objects.get(path, {"metadata": {}})["metadata"].get("resourceVersion"):
            raise ConflictError(f"{path} was changed.")

    def _store(self, path: str, body: Json) -> Json:
        self._written += 1
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self._written)
        if stored.get("kind") == "Deployment":
            self._run(path, stored)
        self.objects[path] = stored
        return copy.deepcopy(stored)

    def patch(self, path: str, body: Json) -> Json | None:
        """Merge fields into an object; None if it does not exist."""
        if path not in self.objects:
            return None
        self._check(path, body)
        return self._store(path, _merged(self.objects[path], body))

    def _run(self, path: str, deployment: Json) -> None:
        """As many pods as asked for, made from the template; those of another template are replaced."""
        replicas, template = deployment["spec"]["replicas"], deployment["spec"]["template"]
        deployment["status"] = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), replicas)
        deployment["metadata"]["generation"] = deployment["status"]["observedGeneration"] = self._written
        pods = f"{path.partition('/namespaces/')[2].partition('/')[0]}/pods"
        before = self.objects.get(path)
        kept = before["spec"]["replicas"] if before and before["spec"]["template"] == template else 0
        name = deployment["metadata"]["name"]
        for number in range(max(replicas, before["spec"]["replicas"] if before else 0)):
            pod = f"/api/v1/namespaces/{pods}/{name}-{number}"
            if number >= replicas:
                del self.objects[pod]
            elif number >= kept:
                self.objects[pod] = {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {**copy.deepcopy(template["metadata"]), "name": f"{name}-{number}"},
                    "spec": copy.deepcopy(template["spec"]),
                    "status": {
                        "phase": "Running",
                        "podIP": f"{name}-{number}",
                        "conditions": [{"type": "Ready", "status": "True"}],
                    },
                }

    def _pods(self, path: str) -> list[Json]:
        return [copy.deepcopy(found) for name, found in self.objects.items() if name.rpartition("/")[0] == path]

    def _endpoints(self, path: str) -> Json:
        service = self.objects[path.replace("/endpoints/", "/services/")]
        pods = path.partition("/endpoints/")[0] + "/pods"
        selector = service["spec"].get("selector", {})
        found = [pod for pod in self._pods(pods) if selector and selector.items() <= pod["metadata"]["labels"].items()]
        return {"subsets": [{"addresses": [{"ip": pod["status"]["podIP"]} for pod in found]}] if found else []}


def _labels(selector: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in selector.split(",") if pair)


def _merged(into: Json, changes: Json) -> Json:
    merged = copy.deepcopy(into)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged

"""An overlay as a platform engineer writes one, for one node without names, volumes or a registry with TLS.

Code server and runs use their node's network, where the registry is ``localhost`` as for the node itself; the others
find it by the node's address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import ROOT

NAMESPACE = "banana-delivery"
USER = 10001
"""Whom the pods run as."""
DEPLOYMENTS = ("dagster-code-server", "dagster-webserver", "dagster-daemon")


@dataclass(frozen=True)
class Overlay:
    """What differs from one installation to another.

    Attributes:
        image: of the pipeline, ``name:tag``.
        settings: of ``settings.env``, by variable.
        home: folder of the node that is the volume.
        names: addresses by name, for want of a server of names.
        root: checkout with the manifests.
    """

    image: str
    settings: Mapping[str, str]
    home: Path
    names: Mapping[str, str]
    root: Path = ROOT

    def write(self, folder: Path) -> Path:
        """Write it down; returns the folder that is to be applied."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "volume.yaml").write_text(yaml.safe_dump(self._volume()))
        (folder / "dagster.yaml").write_text(yaml.safe_dump(_instance()))
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(self._kustomization(folder)))
        return folder

    def _kustomization(self, folder: Path) -> dict[str, Any]:
        image, tag = self.image.rsplit(":", 1)
        there = yaml.safe_load((self.root / "k8s/overlays/example/dagster/kustomization.yaml").read_text())
        settings = [f"{name}={value}" for name, value in self.settings.items()]
        merged = {"namespace": NAMESPACE, "behavior": "merge"}
        return {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(self.root / "k8s/environments/dagster", folder), "volume.yaml"],
            "images": [{"name": "banana-delivery", "newName": image, "newTag": tag}],
            "replacements": there["replacements"],
            "configMapGenerator": [
                {"name": "banana-delivery-settings", **merged, "literals": settings},
                {"name": "dagster-instance", **merged, "files": ["dagster.yaml"]},
            ],
            "generatorOptions": there["generatorOptions"],
            "patches": [
                *({"patch": yaml.safe_dump(self._deployment(name))} for name in DEPLOYMENTS),
                {"patch": yaml.safe_dump(_claim())},
                {"patch": yaml.safe_dump(_publisher())},
            ],
        }

    def _deployment(self, name: str) -> dict[str, Any]:
        aliases = [{"ip": address, "hostnames": [called]} for called, address in self.names.items()]
        pod: dict[str, Any] = {"hostAliases": aliases, "dnsPolicy": "Default"}
        spec: dict[str, Any] = {"template": {"spec": pod}}
        if name == "dagster-code-server":
            # Its port is the node's, so the next one has to wait until it is free.
            pod["hostNetwork"] = True
            spec["strategy"] = {"type": "Recreate", "rollingUpdate": None}
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}

    def _volume(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "banana-delivery-home"},
            "spec": {
                "capacity": {"storage": "20Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {"namespace": NAMESPACE, "name": "banana-delivery-home"},
                "hostPath": {"path": str(self.home), "type": "Directory"},
            },
        }


def _claim() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "banana-delivery-home", "namespace": NAMESPACE},
        "spec": {"storageClassName": "", "volumeName": "banana-delivery-home"},
    }


def _publisher() -> dict[str, Any]:
    """What writes into the registry, which is its node's ``localhost`` for it as well."""
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": "banana-delivery-publisher", "namespace": NAMESPACE},
        "template": {"spec": {"hostNetwork": True, "dnsPolicy": "Default"}},
    }


def _instance() -> dict[str, Any]:
    """The instance with runs on their node's network."""
    instance: dict[str, Any] = yaml.safe_load((ROOT / "k8s/base/dagster/dagster.yaml").read_text())
    pod = instance["run_launcher"]["config"]["run_k8s_config"]["pod_spec_config"]
    pod |= {"hostNetwork": True, "dnsPolicy": "Default"}
    return instance

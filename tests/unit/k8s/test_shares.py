"""Users come first on a node that they share with the pipeline: where all want more, a pod gets what it asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from banana_delivery.bundle import CHECKOUT

assert CHECKOUT
K8S = CHECKOUT / "k8s"
FILES = [*sorted((K8S / "base/dagster").glob("*.yaml")), K8S / "dagster/helm-values.yaml"]


def milli(quantity: str) -> int:
    return int(quantity.removesuffix("m")) if quantity.endswith("m") else int(float(quantity) * 1000)


def requested(document: Any) -> Iterator[int]:
    """Thousandths of a processor that anything in a document asks for."""
    if isinstance(document, dict):
        asked = document.get("requests")
        if isinstance(asked, dict) and "cpu" in asked:
            yield milli(str(asked["cpu"]))
        for value in document.values():
            yield from requested(value)
    elif isinstance(document, list):
        for value in document:
            yield from requested(value)


def smallest_replica() -> int:
    patches = yaml.safe_load((K8S / "components/small/kustomization.yaml").read_text())["patches"]
    steps = [step for patch in patches for step in yaml.safe_load(patch["patch"])]
    return min(milli(str(step["value"]["cpu"])) for step in steps if step["path"].endswith("/resources/requests"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_pod_of_the_pipeline_asks_for_more_than_half_of_the_smallest_replica(file: Any) -> None:
    found = [share for document in yaml.safe_load_all(file.read_text()) for share in requested(document)]
    assert all(share <= smallest_replica() / 2 for share in found)


def test_every_kind_of_pod_was_looked_at() -> None:
    looked = [
        file.name for file in FILES for document in yaml.safe_load_all(file.read_text()) if [*requested(document)]
    ]
    assert {"code-server.yaml", "daemon.yaml", "webserver.yaml", "dagster.yaml", "export.yaml"} <= {*looked}

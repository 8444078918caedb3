"""What the official Helm chart's published schema says of user deployments, as far as ours is one.

Facts of ``helm/dagster/charts/dagster-user-deployments/values.schema.json`` and of ``values.schema.json`` beside it, in
the repository dagster-io/dagster, read on 2026-11-27. The published schema takes further keys and ignores them; here
they are refused, since a key that the chart does not know is a mistake. What it takes from Kubernetes is checked as
Kubernetes takes it.
"""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...] = (), **properties: object) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def _list_of(item: object) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": item}


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
FLAG = {"type": "boolean"}
OF_KUBERNETES = {"type": ["object", "null"]}
"""Its shape is that of ``io.k8s.api.core.v1``."""
TEXTS = {"type": ["object", "null"], "additionalProperties": TEXT}
IMAGE = _object(
    ("repository", "pullPolicy"),
    repository=TEXT,
    tag={"type": ["string", "integer", "null"]},
    pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
)
ACCOUNT = _object(("create", "name", "annotations"), create=FLAG, name=TEXT, annotations=TEXTS)
DEPLOYMENT = _object(
    ("name", "image", "port"),
    name=TEXT,
    image=IMAGE,
    dagsterApiGrpcArgs=_list_of(TEXT),
    codeServerArgs=_list_of(TEXT),
    includeConfigInLaunchedRuns=_object(("enabled",), enabled=FLAG),
    deploymentNamespace={"type": ["string", "null"]},
    port=WHOLE,
    env={"anyOf": [TEXTS, _list_of(OF_KUBERNETES)]},
    envConfigMaps=_list_of(OF_KUBERNETES),
    envSecrets=_list_of(OF_KUBERNETES),
    annotations=TEXTS,
    nodeSelector=TEXTS,
    affinity=OF_KUBERNETES,
    tolerations=_list_of(OF_KUBERNETES),
    podSecurityContext=OF_KUBERNETES,
    securityContext=OF_KUBERNETES,
    resources=OF_KUBERNETES,
    livenessProbe=OF_KUBERNETES,
    readinessProbe=OF_KUBERNETES,
    startupProbe=OF_KUBERNETES,
    labels=TEXTS,
    volumeMounts=_list_of(OF_KUBERNETES),
    volumes=_list_of(OF_KUBERNETES),
    schedulerName={"type": ["string", "null"]},
    initContainers=_list_of(OF_KUBERNETES),
    sidecarContainers=_list_of(OF_KUBERNETES),
    deploymentStrategy=OF_KUBERNETES,
    serviceAccount={"anyOf": [ACCOUNT, {"type": "null"}]},
)

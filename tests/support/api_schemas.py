"""Objects against what API servers of several versions accept: unknown fields, kinds and versions are refused.

The schemas of Kubernetes itself come with kubernetes-validate. Those of the Gateway API 1.4, its standard channel, are
written here as far as this project uses them; what is not written is refused, and so never used unseen.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

Json = dict[str, Any]
SUPPORTED = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
"""The newest minor versions of Kubernetes. No server newer than 1.20 was ever asked by these tests."""
GATEWAY = "gateway.networking.k8s.io/v1"
DURATION = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
_HOME = "https://kubernetes.io/api/"


def problems(thing: Json, version: str) -> list[str]:
    """What a server of a version has against an object, each with its place; empty if nothing."""
    label = f"{thing['kind']} {thing['metadata'].get('name', thing['metadata'].get('generateName'))}"
    if thing["apiVersion"].startswith("gateway.networking.k8s.io/"):
        validator = _gateway(thing["apiVersion"], thing["kind"])
    else:
        validator = _validator(version, thing["kind"].lower(), thing["apiVersion"])
    if validator is None:
        return [f"{label}: {version} has no {thing['kind']} in {thing['apiVersion']}"]
    found = [
        f"{label} for {version}: {'.'.join(map(str, error.instance_path))}: {error.message[:200]}"
        for error in validator.iter_errors(thing)
    ]
    return found + (_contradictions(thing) if thing["kind"] == "HTTPRoute" else [])


def knows(version: str, group_version: str, resource: str) -> bool:
    """Whether a server of a version has a resource, by its name in paths."""
    kind = {"endpoints": "endpoints"}.get(resource, re.sub(r"ies$", "y", resource).removesuffix("s"))
    if group_version.startswith("gateway.networking.k8s.io/"):
        return _gateway(group_version, {"httproute": "HTTPRoute", "gateway": "Gateway"}.get(kind, "")) is not None
    return _validator(version, kind, group_version) is not None


@cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    text = (_folder(version) / "_definitions.json").read_text()
    return jsonschema_rs.Registry([(f"{_HOME}_definitions.json", json.loads(text))])


def _folder(version: str) -> Any:
    return files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"


@cache
def _validator(version: str, kind: str, api_version: str) -> jsonschema_rs.Validator | None:
    group, _, rest = api_version.rpartition("/")
    file = _folder(version) / f"{'-'.join(filter(None, [kind, group.partition('.')[0], rest]))}.json"
    if not file.is_file():
        return None
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **json.loads(file.read_text())}
    schema["$id"] = f"{_HOME}{file.name}"
    return jsonschema_rs.validator_for(schema, registry=_definitions(version))


def _closed(required: tuple[str, ...] = (), /, **properties: Json) -> Json:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _many(of: Json, most: int) -> Json:
    return {"type": "array", "items": of, "maxItems": most}


def _one_of(*values: object) -> Json:
    return {"enum": list(values)}


_TEXT: Json = {"type": "string"}
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 253}
_HOST: Json = {**_NAME, "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"}
_PORT: Json = {"type": "integer", "minimum": 1, "maximum": 65535}
_DURATION: Json = {"type": "string", "pattern": DURATION}
_MAP: Json = {"type": "object", "additionalProperties": _TEXT}
_HEADER = _closed(
    ("name", "value"),
    name={"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$", "maxLength": 256},
    value={"type": "string", "minLength": 1, "maxLength": 4096},
)
_HEADERS = _closed(set=_many(_HEADER, 16), add=_many(_HEADER, 16), remove=_many(_TEXT, 16))
_NEW_PATH = _closed(
    ("type",),
    type=_one_of("ReplaceFullPath", "ReplacePrefixMatch"),
    replaceFullPath={"type": "string", "maxLength": 1024},
    replacePrefixMatch={"type": "string", "maxLength": 1024},
)
_FILTER = _closed(
    ("type",),
    type=_one_of("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite"),
    requestHeaderModifier=_HEADERS,
    responseHeaderModifier=_HEADERS,
    requestRedirect=_closed(
        scheme=_one_of("http", "https"), hostname=_HOST, path=_NEW_PATH, port=_PORT, statusCode=_one_of(301, 302)
    ),
    urlRewrite=_closed(hostname=_HOST, path=_NEW_PATH),
)
_MATCH = _closed(
    path=_closed(
        type=_one_of("Exact", "PathPrefix", "RegularExpression"),
        value={"type": "string", "pattern": "^/", "maxLength": 1024},
    ),
    headers=_many(_closed(("name", "value"), type=_one_of("Exact", "RegularExpression"), name=_TEXT, value=_TEXT), 16),
    method=_one_of("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
)
_BACKEND = _closed(
    ("name",),
    group=_TEXT,
    kind=_TEXT,
    name=_NAME,
    namespace=_NAME,
    port=_PORT,
    weight={"type": "integer", "minimum": 0, "maximum": 1_000_000},
    filters=_many(_FILTER, 16),
)
_RULE = _closed(
    name=_NAME,
    matches=_many(_MATCH, 64),
    filters=_many(_FILTER, 16),
    backendRefs=_many(_BACKEND, 16),
    timeouts=_closed(request=_DURATION, backendRequest=_DURATION),
)
_PARENT = _closed(("name",), group=_TEXT, kind=_TEXT, namespace=_NAME, name=_NAME, sectionName=_NAME, port=_PORT)
_METADATA = _closed(
    ("name",),
    name=_NAME,
    namespace=_NAME,
    labels=_MAP,
    annotations=_MAP,
    resourceVersion=_TEXT,
    uid=_TEXT,
    generation={"type": "integer"},
)
_FROM = _closed(**{"from": _one_of("All", "Selector", "Same"), "selector": {"type": "object"}})
_LISTENER = _closed(
    ("name", "port", "protocol"),
    name=_NAME,
    hostname=_HOST,
    port=_PORT,
    protocol={"type": "string", "minLength": 1, "maxLength": 255},
    tls=_closed(
        mode=_one_of("Terminate", "Passthrough"),
        certificateRefs=_many(_closed(("name",), group=_TEXT, kind=_TEXT, name=_NAME, namespace=_NAME), 64),
        options={**_MAP, "maxProperties": 16},
    ),
    allowedRoutes=_closed(namespaces=_FROM, kinds=_many(_closed(("kind",), group=_TEXT, kind=_TEXT), 8)),
)
_SPECS: dict[str, Json] = {
    "HTTPRoute": _closed(
        parentRefs=_many(_PARENT, 32), hostnames=_many(_HOST, 16), rules={**_many(_RULE, 16), "minItems": 1}
    ),
    "Gateway": _closed(
        ("gatewayClassName", "listeners"),
        gatewayClassName=_NAME,
        listeners={**_many(_LISTENER, 64), "minItems": 1},
        infrastructure=_closed(labels=_MAP, annotations=_MAP),
    ),
}


@cache
def _gateway(api_version: str, kind: str) -> jsonschema_rs.Validator | None:
    if api_version != GATEWAY or kind not in _SPECS:
        return None
    status: Json = {"type": "object"}
    whole = _closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_METADATA,
        spec=_SPECS[kind],
        status=status,
    )
    return jsonschema_rs.validator_for(whole)


def _contradictions(route: Json) -> list[str]:
    """What the CRD forbids by rules over several fields."""
    found = []
    for rule in route["spec"].get("rules", []):
        kinds = [one["type"] for one in rule.get("filters", [])]
        if "RequestRedirect" in kinds and rule.get("backendRefs"):
            found.append("a redirect and backends in one rule")
        if {"RequestRedirect", "URLRewrite"} <= set(kinds) or len(set(kinds)) < len(kinds):
            found.append(f"filters that exclude each other: {', '.join(kinds)}")
        for one in rule.get("filters", []):
            own = one["type"][0].lower() + one["type"][1:]
            if {key for key in one if key != "type"} != {"urlRewrite" if own == "uRLRewrite" else own}:
                found.append(f"a filter {one['type']} with another one's fields")
    return [f"HTTPRoute {route['metadata']['name']}: {one}" for one in found]

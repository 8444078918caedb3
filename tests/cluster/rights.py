"""Acting as the pipeline's ServiceAccount, and comparing what it asks for with what it may do."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.recorder import Right, recording
from tests.support.kubeconfig import write_kubeconfig

ACCOUNT = "system:serviceaccount:banana-delivery:banana-delivery"


@contextmanager
def as_the_pipeline(
    cluster: Cluster, scratch: Path, monkeypatch: pytest.MonkeyPatch, contexts: Collection[str] = ("here",)
) -> Iterator[dict[str, set[Right]]]:
    """Targets made and first used in the block are the pipeline's ServiceAccount.

    Yields the rights they needed through each context; each leads to the cluster by an address of its own, and the
    first one is current.
    """
    view = cluster.kubectl("config", "view", "--raw", "--minify", "-o", "jsonpath={.clusters[0].cluster}")
    server, authority = json.loads(view), scratch / "ca.crt"
    authority.write_bytes(base64.b64decode(server["certificate-authority-data"]))
    token = cluster.kubectl("create", "token", "banana-delivery", "-n", "banana-delivery").strip()
    with ExitStack() as open_ones, monkeypatch.context() as patched:
        recorders = {context: open_ones.enter_context(recording(server["server"], authority)) for context in contexts}
        addresses = {context: address for context, (address, _) in recorders.items()}
        patched.setenv("KUBECONFIG", str(write_kubeconfig(scratch / "kubeconfig", addresses, token)))
        yield {context: needed for context, (_, needed) in recorders.items()}


def rights_granted(cluster: Cluster) -> set[Right]:
    """Every right in the pipeline's Roles."""
    roles = cluster.get("roles", "-A", "-l", "app.kubernetes.io/component=pipeline")["items"]
    return {
        Right(role["metadata"]["namespace"], group, resource, verb, name)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", ["*"])
    }


def as_granted(needed: Collection[Right], granted: set[Right]) -> set[Right]:
    """Rights as they are granted: some are for every object of a kind."""
    everything = {right: Right(right.namespace, right.group, right.resource, right.verb, "*") for right in needed}
    return {everything[right] if everything[right] in granted else right for right in needed}

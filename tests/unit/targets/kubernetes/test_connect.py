"""Staging and production may be two clusters: each one is asked for its own things, and for nothing else."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Environment
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import KubernetesApi
from banana_delivery.targets.kubernetes.target import kubernetes_target
from tests.support.kubeconfig import NOWHERE, write_kubeconfig


@contextmanager
def api_server() -> Iterator[tuple[str, set[str]]]:
    """A cluster before its first release; writes down in which namespaces something was asked for."""
    namespaces: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            namespaces.add(self.path.split("/namespaces/")[1].split("/")[0])
            there = not self.path.startswith("/apis/apps/")
            body = json.dumps({"metadata": {}, "spec": {}, "items": []}).encode()
            self.send_response(200 if there else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """What was asked is in ``namespaces``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", namespaces
        server.shutdown()


@pytest.mark.parametrize("routing", ["gateway", "endpoints"])
def test_each_environment_is_asked_for_in_the_cluster_of_its_own_context(
    routing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api_server() as (staging, asked_of_staging), api_server() as (production, asked_of_production):
        servers = {**NOWHERE, "staging-cluster": staging, "production-cluster": production}
        file = write_kubeconfig(tmp_path / "kubeconfig", servers)
        monkeypatch.setenv("KUBECONFIG", str(file))
        settings = Settings.model_validate(
            {
                "kubernetes_routing": routing,
                "kubernetes_staging_context": "staging-cluster",
                "kubernetes_production_context": "production-cluster",
            }
        )
        target = kubernetes_target(settings)

        for environment in Environment:
            assert target.record(environment).environment is environment
            target.observed(environment)
            target.traffic(environment)
            target.default_replicas(environment)

    assert asked_of_staging == {"staging"}
    assert asked_of_production == {"production"}


def test_a_server_that_hangs_up_in_the_tls_handshake_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangUp) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = {"here": f"https://127.0.0.1:{server.server_address[1]}"}
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", address)))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        api = KubernetesApi(outage_seconds=0.2)
        with pytest.raises(TargetError, match="did not answer for 0 s"):
            api.get("/api/v1/namespaces")
        assert api.text("/page") is None
        server.shutdown()

"""What users read, and what only whoever runs a replica does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.errors import ConfigurationError
from serving.http.envelope import Envelope
from serving.replica import Replica
from serving.server import DrainingServer, build_server
from serving.settings import Settings, load_settings
from tests.support.ports import free_ports
from tests.unit.serving.clients import DIGEST, build_replica, client_of, post, started
from tests.unit.serving.detectors import write_model
from tests.unit.serving.images import encode, picture

INTERNAL_PORT = 9000


def at(app: Envelope, port: int) -> TestClient:
    """A client whose connections arrive at a port."""
    return TestClient(app, base_url=f"http://replica:{port}")


def test_users_read_which_release_answers_and_none_of_its_internals(tmp_path: Path) -> None:
    app = create_app(build_replica(tmp_path, internal_port=INTERNAL_PORT))
    with at(app, 8000) as users:
        internal = at(app, INTERNAL_PORT)
        assert post(users, encode(picture())).status_code == 200

        told, refused = users.get("/version"), users.get("/metrics")
        assert set(told.json()) == {"model_name", "version", "digest"}
        assert (told.json()["version"], told.json()["digest"]) == ("7", DIGEST)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "internal_port")
        assert set(users.get("/openapi.json").json()["paths"]) == {
            "/predict",
            "/predict/batch",
            "/predict/annotated",
            "/health",
            "/ready",
            "/version",
        }
        for path in ("/health", "/ready", "/docs", "/docs/source.tar.gz"):
            assert users.get(path).status_code == 200

        assert internal.get("/version").json()["source"] == "models:/banana_sigatoka_detector/7"
        counted = 'banana_requests_total{route="/predict",status="200",traffic="user"} 1.0'
        assert counted in internal.get("/metrics").text


def test_nobody_predicts_on_the_internal_port(tmp_path: Path) -> None:
    app = create_app(build_replica(tmp_path, internal_port=INTERNAL_PORT))
    with at(app, INTERNAL_PORT) as internal:
        for path in ("/predict", "/predict/batch"):
            assert post(internal, encode(picture()), path).status_code == 404
        assert [internal.get(path).status_code for path in ("/docs", "/openapi.json", "/redoc")] == [404] * 3
        assert internal.get("/health").headers["X-Image-Digest"] == DIGEST
        assert internal.get("/ready").status_code == 200


def test_no_header_leads_from_the_users_port_to_the_internal_one(tmp_path: Path) -> None:
    app = create_app(build_replica(tmp_path, internal_port=INTERNAL_PORT))
    with at(app, 8000) as users:
        for name in ("Host", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-For", "Forwarded"):
            assert users.get("/metrics", headers={name: f"replica:{INTERNAL_PORT}"}).status_code == 404, name
        assert users.get(f"http://replica:8000//replica:{INTERNAL_PORT}/metrics").status_code == 404


def test_a_replica_without_an_internal_port_tells_everything_where_it_answers(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        assert "banana_requests_total" in client.get("/metrics").text
        assert client.get("/version").json()["source"]


def server_on(ports: Sequence[int], folder: Path) -> DrainingServer:
    """The real server of a tiny model, for users and internally."""
    settings = {"model_path": write_model(folder), "port": ports[0], "internal_port": ports[1], "inference_workers": 1}
    return build_server(Settings.model_validate(settings))


def test_the_real_server_answers_on_both_ports_and_lets_go_of_both(tmp_path: Path) -> None:
    port, internal_port = ports = free_ports(2)
    with started(server_on(ports, tmp_path)):
        statuses = {
            (path, asked): httpx.get(f"http://127.0.0.1:{asked}{path}", trust_env=False).status_code
            for path in ("/metrics", "/docs", "/ready")
            for asked in ports
        }

    assert statuses == {
        ("/metrics", port): 404,
        ("/metrics", internal_port): 200,
        ("/docs", port): 200,
        ("/docs", internal_port): 404,
        ("/ready", port): 200,
        ("/ready", internal_port): 200,
    }
    for closed in (port, internal_port):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{closed}/ready", trust_env=False)


def ends(running: DrainingServer) -> list[object]:
    """Runs a server that should not start; its exit statuses, none if it did start and had to be stopped."""
    statuses: list[object] = []

    def run() -> None:
        try:
            running.run()
        except SystemExit as ended:
            statuses.append(ended.code)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and not running.started:
        time.sleep(0.01)
    # For one that goes on; who ends looks at it no more.
    running.should_exit = True
    thread.join()
    return statuses


@pytest.mark.parametrize("which", [0, 1], ids=["users", "internal"])
def test_who_loses_a_port_while_the_model_loads_ends_instead_of_running_deaf(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have bound it, and the other one listens first: uvloop goes on as if it listened."""
    ports = free_ports(2)
    running = server_on(ports, tmp_path)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def load(_: Replica) -> None:
            other.bind(("127.0.0.1", ports[which]))
            other.listen()

        monkeypatch.setattr(Replica, "load", load)
        assert ends(running) == [3]
    assert f"begun to listen on port {ports[0]} or {ports[1]}" in caplog.text


@pytest.mark.parametrize("which", [0, 1], ids=["users", "internal"])
def test_a_port_that_somebody_has_is_told_by_its_number_before_the_model_is_loaded(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ports = free_ports(2)
    running = server_on(ports, tmp_path)
    loaded: list[Replica] = []
    monkeypatch.setattr(Replica, "load", loaded.append)
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[which]))
        other.listen()
        assert ends(running) == [3]
    assert f"Port {ports[which]} of 127.0.0.1 cannot be had" in caplog.text
    assert loaded == []


@pytest.mark.parametrize("internal_port", ["8000", "0", "70000", "metrics"])
def test_an_internal_port_that_is_none_is_told_by_its_name(
    internal_port: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"MODEL_PATH": str(tmp_path), "PORT": "8000", "INTERNAL_PORT": internal_port}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match="INTERNAL_PORT: "):
        load_settings()

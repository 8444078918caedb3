import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from serving.http import envelope

from .clients import DIGEST, build_replica, client_of, post
from .images import encode, picture


def samples(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_requests_are_counted_by_route_status_and_traffic(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        image = encode(picture())
        post(client, image)
        post(client, image, headers={"X-Banana-Traffic": "user"})
        post(client, image, headers={"X-Banana-Traffic": "anything"})
        post(client, image, headers={"X-Banana-Traffic": "probe"})
        post(client, b"no image")
        client.get("/random/path")
        found = samples(client)
    assert found[key("banana_requests_total", route="/predict", status="200", traffic="user")] == 3
    assert found[key("banana_requests_total", route="/predict", status="200", traffic="probe")] == 1
    assert found[key("banana_requests_total", route="/predict", status="415", traffic="user")] == 1
    assert found[key("banana_requests_total", route="other", status="404", traffic="user")] == 1
    assert found[key("banana_request_duration_seconds_count", route="/predict", traffic="user")] == 4
    assert found[key("banana_inference_seconds_count")] == 4
    assert found[key("banana_queue_depth")] == 0
    info = key("banana_model_info", version="7", digest=DIGEST, environment="production", colour="blue")
    assert found[info] == 1


def test_who_says_that_he_is_the_probe_without_its_token_is_a_user_and_answered(tmp_path: Path) -> None:
    token = "5" * 32
    posing = [
        {"X-Banana-Traffic": "probe"},
        {"X-Banana-Traffic": "probe", "X-Banana-Probe": ""},
        {"X-Banana-Traffic": "probe", "X-Banana-Probe": token[:-1]},
        {"X-Banana-Traffic": "probe", "X-Banana-Probe": token + "5"},
        {"X-Banana-Traffic": "probe", "X-Banana-Probe": b"\xe9" * 32},
        {"X-Banana-Probe": token},
        {"X-Banana-Traffic": "user", "X-Banana-Probe": token},
    ]
    with client_of(build_replica(tmp_path, probe_token=token, queue_size=0)) as client:
        image = encode(picture())
        answers = [post(client, image, headers=headers).status_code for headers in posing]
        post(client, image, headers={"X-Banana-Traffic": "probe", "X-Banana-Probe": token})
        found = samples(client)
    assert answers == [200] * len(posing)
    for name, labels in (
        ("banana_requests_total", {"route": "/predict", "status": "200"}),
        ("banana_request_duration_seconds_count", {"route": "/predict"}),
    ):
        assert found[key(name, **labels, traffic="user")] == len(posing)
        assert found[key(name, **labels, traffic="probe")] == 1


def test_no_page_of_a_replica_tells_the_probes_token(tmp_path: Path) -> None:
    token = "5" * 32
    replica = build_replica(tmp_path, probe_token=token)
    with client_of(replica) as client:
        pages = [
            client.get(path) for path in ("/version", "/metrics", "/health", "/ready", "/openapi.json", "/nothing")
        ]
    assert not [page.url for page in pages if token in page.text or token in str(page.headers)]
    assert token not in repr(replica.settings)


def test_the_latency_budget_of_a_release_is_a_bucket_edge(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        post(client, encode(picture()))
        edge = key("banana_request_duration_seconds_bucket", route="/predict", traffic="user", le="1.0")
        assert edge in samples(client)


def send_half(client: TestClient, ends: str) -> None:
    """An upload of which only the first part ever comes, straight into the application."""

    async def request() -> None:
        parts: Iterator[dict[str, Any]] = iter(
            [{"type": "http.request", "body": b"--x", "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive() -> dict[str, Any]:
            part = next(parts)
            if part["type"] == "http.disconnect" and ends == "late":
                await asyncio.sleep(0.02)
            return part

        async def send(_: object) -> None:
            """Nobody is there to be sent anything."""

        headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"5000")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/predict",
            "raw_path": b"/predict",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await client.app(scope, receive, send)

    asyncio.run(request())


def test_an_upload_that_its_client_never_finished_is_counted_apart_and_was_not_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "GAVE_UP_SECONDS", 0.01)
    with client_of(build_replica(tmp_path)) as client:
        send_half(client, "late")
        send_half(client, "late")
        monkeypatch.setattr(envelope, "GAVE_UP_SECONDS", 60.0)
        send_half(client, "soon")
        found = samples(client)
    assert found[key("banana_unfinished_uploads_total", traffic="user", late="true")] == 2
    assert found[key("banana_unfinished_uploads_total", traffic="user", late="false")] == 1
    assert found[key("banana_requests_total", route="/predict", status="499", traffic="user")] == 3
    assert key("banana_request_duration_seconds_count", route="/predict", traffic="user") not in found

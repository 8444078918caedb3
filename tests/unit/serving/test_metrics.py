from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

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


def test_the_latency_budget_of_a_release_is_a_bucket_edge(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        post(client, encode(picture()))
        edge = key("banana_request_duration_seconds_bucket", route="/predict", traffic="user", le="1.0")
        assert edge in samples(client)

"""Traefik's configuration as a whole: every name leads somewhere, and every backend is counted apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.replicas import KEEP_ALIVE_SECONDS
from banana_delivery.embedded.router import traefik
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import COLOURS, Colour, Environment, TrafficSource

PORTS = {Colour.BLUE: [1001, 1002], Colour.GREEN: [], Colour.SOLE: [1003]}
TOKENS = {Colour.BLUE: "b" * 32, Colour.SOLE: ""}


def merged() -> dict[str, dict[str, Any]]:
    """All files together, as Traefik reads its folder; a name that two files give is an error."""
    files: list[Any] = [traefik.common_config()]
    for environment in Environment:
        files += [traefik.backends_config(environment, PORTS, TOKENS), traefik.weights_config(environment, {})]
    whole: dict[str, dict[str, Any]] = {}
    for file in files:
        for section, items in file["http"].items():
            assert not whole.setdefault(section, {}).keys() & items.keys()
            whole[section].update(items)
    return whole


def services_named(config: dict[str, dict[str, Any]]) -> Iterator[str]:
    for router in config["routers"].values():
        yield router["service"]
    for middleware in config["middlewares"].values():
        yield from [middleware["errors"]["service"]] if "errors" in middleware else []
    for service in config["services"].values():
        yield from (child["name"] for child in service.get("weighted", {}).get("services", []))


def test_every_name_leads_somewhere() -> None:
    config = merged()
    users = [*config["routers"].values(), *config["services"].values()]
    balancers = [item["loadBalancer"] for item in config["services"].values() if "loadBalancer" in item]

    assert set(services_named(config)) <= config["services"].keys() | {"api@internal"}
    assert {name for item in users for name in item.get("middlewares", [])} <= config["middlewares"].keys()
    assert {item["serversTransport"] for item in balancers} <= config["serversTransports"].keys()


def test_every_colour_and_stratum_is_counted_by_a_service_of_its_own() -> None:
    services = merged()["services"]

    for colour in Colour:
        for source in TrafficSource:
            name = traefik.service_name(colour, source)
            servers = [server["url"] for server in services[name]["loadBalancer"]["servers"]]
            assert servers == [f"http://127.0.0.1:{port}" for port in PORTS[colour]]
            assert f"{name}-lost" in services


def test_users_enter_marked_as_users_and_the_probe_as_the_probe() -> None:
    for name, router in merged()["routers"].items():
        expected = {"production-users": "mark-user", "staging-users": "mark-user", "api": None}.get(name, "mark-probe")
        assert [mark for mark in router.get("middlewares", []) if mark.startswith("mark-")] == [expected] * bool(
            expected
        )
        assert (router["entryPoints"] == ["probe"]) == (expected == "mark-probe")


def test_a_colour_without_a_weight_gets_nobody() -> None:
    config: Any = traefik.weights_config(Environment.PRODUCTION, {Colour.BLUE: 100})

    split = config["http"]["services"]["production-users"]["weighted"]["services"]
    assert split == [{"name": "blue-user", "weight": 100}, {"name": "green-user", "weight": 0}]
    assert len(split) == len(COLOURS[Environment.PRODUCTION])


def test_the_router_drops_idle_connections_before_a_replica_does() -> None:
    assert traefik.IDLE_SECONDS < KEEP_ALIVE_SECONDS


def test_a_split_that_somebody_removed_is_written_again_and_one_that_somebody_edited_stays(tmp_path: Path) -> None:
    paths = LocalPaths(tmp_path)
    router, file = traefik.Router(paths, 1), paths.router_dynamic / "production-weights.yml"
    recorded = {Colour.BLUE: 100, Colour.GREEN: 0}

    router.restore_weights(Environment.PRODUCTION, recorded)
    written = file.read_text()
    file.write_text("by hand")
    router.restore_weights(Environment.PRODUCTION, recorded)

    assert yaml.safe_load(written) == traefik.weights_config(Environment.PRODUCTION, recorded)
    assert file.read_text() == "by hand"


def test_nobody_waits_for_a_router_that_nobody_brings_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    with pytest.raises(TargetError, match="does not answer"):
        traefik.Router(LocalPaths(tmp_path), 1).weights(Environment.PRODUCTION)

    assert slept == []


def test_only_the_proof_of_the_release_opens_the_probes_way_to_it() -> None:
    routers = merged()["routers"]

    assert routers["blue-probe"]["rule"] == (
        f"(Path(`/blue`) || PathPrefix(`/blue/`)) && Header(`X-Banana-Probe`, `{'b' * 32}`)"
    )
    # Nothing was deployed, or by a pipeline that made no proofs.
    assert [routers[f"{colour}-probe"]["rule"] for colour in ("green", "sole")] == [
        f"Path(`/{colour}`) || PathPrefix(`/{colour}/`)" for colour in ("green", "sole")
    ]
